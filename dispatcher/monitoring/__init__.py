"""What a person sees of a running fleet: Flower, and Prometheus metrics."""
