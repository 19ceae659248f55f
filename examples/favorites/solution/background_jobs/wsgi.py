"""What a web server runs."""

import os

from django.core.wsgi import get_wsgi_application

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "background_jobs.settings")
application = get_wsgi_application()
