"""Where Celery finds its app: `celery -A campaigns.tasks worker`."""

from operations.celery import app as app
