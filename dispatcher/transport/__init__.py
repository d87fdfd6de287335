"""The only code that imports celery, kombu or redis."""
