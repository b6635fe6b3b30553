"""What Airflow's UI gains: the status page in the navigation, and a tab on each channel's DAG."""

from airflow.plugins_manager import AirflowPlugin
from getty_images.status import PREFIX
from getty_images.status.app import NAME, Slash, app

_VIEW = {"name": NAME, "bundle_url": f"{PREFIX.lstrip('/')}/tab.js"}


class GettyImagesPlugin(AirflowPlugin):
    """The status page and the compliance report."""

    name = "getty_images"
    fastapi_apps = [{"name": "asset-changes", "app": app, "url_prefix": PREFIX}]  # noqa: RUF012 - as Airflow reads it
    fastapi_root_middlewares = [{"name": "asset-changes", "middleware": Slash}]  # noqa: RUF012
    react_apps = [  # noqa: RUF012
        {**_VIEW, "destination": "nav", "category": "browse", "url_route": "asset-changes"},
        {**_VIEW, "destination": "dag", "url_route": "asset-changes-channel"},
    ]
