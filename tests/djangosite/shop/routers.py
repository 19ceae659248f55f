"""Everything lives in the default database, but for `Log`."""


class Router:
    def db_for_read(self, model, **hints):
        return "other" if model.__name__ == "Log" else None

    db_for_write = db_for_read

    def allow_migrate(self, db, app_label, model_name=None, **hints):
        if app_label == "shop":
            return (db == "other") == (model_name == "log")
        return db == "default"


class NoJobs(Router):
    """Keeps the tables of jobs away."""

    def allow_migrate(self, db, app_label, model_name=None, **hints):
        return False if app_label == "belayed" else super().allow_migrate(db, app_label, model_name, **hints)


class SomeJobs(Router):
    """Thinks of a table alone."""

    def allow_migrate(self, db, app_label, model_name=None, **hints):
        return False if model_name == "livejob" else super().allow_migrate(db, app_label, model_name, **hints)
