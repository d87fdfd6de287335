"""What `dispatcher demo` does: requests from a file become calls on real workers, and a report."""
