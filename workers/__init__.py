"""The worker fleet of this deployment: the app, the profiles of its queues, its health and its life."""
