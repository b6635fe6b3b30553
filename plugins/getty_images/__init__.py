"""The Airflow provider for Getty Images: hook, connection type and the wiring to the core."""

from typing import Any


def get_provider_info() -> dict[str, Any]:
    """Return what Airflow asks a provider for; the connection form is drawn from it alone."""
    return {
        "package-name": "getty-asset-changes",
        "name": "Getty Images",
        "description": "Getty Images Asset Changes API",
        "connection-types": [
            {
                "connection-type": "getty_images",
                "hook-name": "Getty Images",
                "hook-class-name": "getty_images.hook.GettyImagesHook",
                "ui-field-behaviour": {
                    # Not the port: Airflow 3.3.2's Test button sends 0 for none, takes that for another address than
                    # the stored one, and is refused (apache/airflow#73298). With a port it works.
                    "hidden-fields": ["schema"],
                    "relabeling": {"host": "API base URL", "login": "API key", "password": "Secret"},
                    "placeholders": {
                        "host": "https://api.gettyimages.com",
                        "port": "443; Airflow's Test button needs a port",
                        "login": "the API key that Getty gave you (client id)",
                        "password": "the secret that belongs to the key",
                    },
                },
                "conn-fields": _CONN_FIELDS,
            }
        ],
    }


_CONN_FIELDS = {
    "token_url": {
        "label": "Token URL",
        "description": "Default: https://authentication.gettyimages.com/oauth2/token",
        "schema": {"type": ["string", "null"], "format": "uri"},
    },
    "grant_type": {
        "label": "Grant type",
        "description": "Empty: client_credentials. Older accounts may need password (Resource Owner Grant)",
        # Without null among them: the form would offer, and show at first, a choice that is called null.
        "schema": {"type": ["string", "null"], "enum": ["client_credentials", "password"]},
    },
    "username": {
        "label": "User name",
        "description": "Only for the grant type password",
        "schema": {"type": ["string", "null"]},
    },
    "user_password": {
        "label": "User password",
        "description": "Only for the grant type password",
        "schema": {"type": ["string", "null"], "format": "password"},
    },
    "timeout_seconds": {
        "label": "Timeout in seconds",
        "description": "How long one answer may take; default 30",
        "schema": {"type": ["number", "null"], "exclusiveMinimum": 0, "maximum": 600},
    },
}
