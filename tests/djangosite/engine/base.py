"""It asks for a password again for each connection; here it is a file that says under which name to connect."""

from __future__ import annotations

import os
from importlib import import_module
from pathlib import Path

Base = import_module(f"django.db.backends.{'postgresql' if os.environ.get('SITE_URL') else 'sqlite3'}.base")


class DatabaseWrapper(Base.DatabaseWrapper):
    def get_connection_params(self):
        params = super().get_connection_params()
        # Raises an error of its own where it is not there, as one that asks another server does.
        token = Path(os.environ["SITE_TOKEN"]).read_text()
        if self.vendor == "postgresql":
            return {**params, "application_name": token}
        self.init_commands.append(f"PRAGMA cache_size = {token}")
        return params
