"""The hook: an Airflow connection around the core's client, which knows nothing of Airflow."""

from collections.abc import Callable, Sequence
from contextlib import closing
from functools import cached_property
from typing import Any
from urllib.parse import urlsplit

from airflow.sdk import BaseHook
from airflow.sdk.log import mask_secret
from asset_changes.clock import Clock, system_clock
from asset_changes.errors import ConfigurationError
from asset_changes.getty_api.client import AssetChangesClient
from asset_changes.getty_api.credentials import API_URL, TOKEN_URL, Credentials
from asset_changes.getty_api.lookup import LookupAnswer, LookupClient
from asset_changes.models import MAX_BATCH_SIZE, Channel, Confirmation, Delivery
from asset_changes.settings import batch_size as checked_batch_size

_TEST_SECONDS = 5.0
"""How long the Test button tries again: somebody waits in front of the form."""
# Never written out: a redirect to the same host without it would look like one to another host.
_DEFAULT_PORTS = {"http": 80, "https": 443}


class GettyImagesHook(BaseHook):
    """Calls the Getty Images Asset Changes API, and its lookups, with the credentials of an Airflow connection.

    .. code-block:: python

        hook = GettyImagesHook()
        delivery = hook.get_change_set(3001, batch_size=100)
        answer = hook.look_up(["123456789", "200559768-001"], "Image")

    :param getty_images_conn_id: the connection: host = API base URL, login = API key, password = secret,
        extras `token_url`, `grant_type`, `username`, `user_password`, `timeout_seconds`.
    :param clock: says when an answer came; this machine's clock by default.
    """

    conn_name_attr = "getty_images_conn_id"
    default_conn_name = "getty_images_default"
    conn_type = "getty_images"
    hook_name = "Getty Images"

    def __init__(self, getty_images_conn_id: str = default_conn_name, *, clock: Clock = system_clock) -> None:
        super().__init__()
        self.getty_images_conn_id = getty_images_conn_id
        self._clock = clock

    @cached_property
    def client(self) -> AssetChangesClient:
        """The client: one HTTP session and one token for the life of this hook."""
        conn_id = self.getty_images_conn_id
        credentials = credentials_of(self.get_connection(conn_id))
        return AssetChangesClient(credentials, name=conn_id, on_token=mask_secret, clock=self._clock)

    def get_conn(self) -> AssetChangesClient:
        """Return the client."""
        return self.client

    @cached_property
    def _lookups(self) -> LookupClient:
        return self.lookup_client()

    def lookup_client(
        self, *, before_call: Callable[[], None] | None = None, on_throttled: Callable[[], None] | None = None
    ) -> LookupClient:
        """Return a client of lookups of the caller's own, who closes it.

        :param before_call: called before every HTTP exchange, those for a token included: a limiter waits there.
        :param on_throttled: called whenever Getty asks for fewer calls: a limiter slows down there.
        """
        conn_id = self.getty_images_conn_id
        return LookupClient(
            credentials_of(self.get_connection(conn_id)),
            name=conn_id,
            on_token=mask_secret,
            before_call=before_call,
            on_throttled=on_throttled,
            clock=self._clock,
        )

    def close(self) -> None:
        """Give the HTTP connections back, if there are any."""
        for name in ("client", "_lookups"):
            if name in self.__dict__:
                self.__dict__[name].close()

    def get_channels(self) -> list[Channel]:
        """Return the channels of the account, by id."""
        return self.client.get_channels()

    def get_change_set(self, channel_id: int, *, batch_size: int = MAX_BATCH_SIZE) -> Delivery:
        """Return what the channel hands out next; its `document` is None where that is nothing.

        :param batch_size: most changes in the set, 1 to 2200; anything else is refused before the call.
        """
        size = checked_batch_size(batch_size, where="the call of get_change_set")
        return self.client.get_change_set(channel_id, batch_size=size)

    def confirm_change_set(self, change_set_id: str) -> Confirmation:
        """Confirm to Getty that a set is received for good; it is not handed out again."""
        return self.client.confirm_change_set(change_set_id)

    def look_up(
        self, asset_ids: Sequence[str], asset_type: str | None = None, *, language: str = "en-US"
    ) -> LookupAnswer:
        """Return what Getty says of assets: the objects of those found, who was not found, who was not answered.

        :param asset_ids: at most 100; more are refused before the call.
        :param asset_type: of all of them, as the feed writes it; what is neither Video nor Film is asked as images.
        :param language: of titles, captions and keywords, such as `en-US`.
        """
        return self._lookups.look_up(asset_ids, asset_type=asset_type, language=language)

    def test_connection(self) -> tuple[bool, str]:
        """Return whether the account's channels can be listed, and which they are or what to fix."""
        conn_id = self.getty_images_conn_id
        try:
            credentials = credentials_of(self.get_connection(conn_id))
            client = AssetChangesClient(credentials, name=conn_id, on_token=mask_secret, retry_seconds=_TEST_SECONDS)
            with closing(client):
                channels = client.get_channels()
        except Exception as error:  # noqa: BLE001 - the form shows it, whatever it is
            return False, str(error)
        named = ", ".join(f"{each.channel_id} ({each.asset_family} {each.asset_type})" for each in channels)
        return True, f"Connected. Channels: {named or 'none; ask Getty to set some up'}."


def credentials_of(connection: Any) -> Credentials:
    """Return the credentials of an Airflow connection, or raise ConfigurationError that names it."""
    extras = {key: value for key, value in connection.extra_dejson.items() if value not in (None, "")}
    if extras.get("user_password"):
        mask_secret(str(extras["user_password"]))
    try:
        return Credentials(
            api_key=connection.login or "",
            secret=connection.password or "",
            api_url=_api_url(connection),
            token_url=str(extras.get("token_url", TOKEN_URL)),
            grant_type=str(extras.get("grant_type", "client_credentials")),
            username=_text(extras.get("username")),
            user_password=_text(extras.get("user_password")),
            timeout_seconds=_number(extras.get("timeout_seconds"), default=30.0),
        )
    except (ConfigurationError, ValueError) as error:
        raise ConfigurationError(f"Connection {connection.conn_id!r}: {error}") from None


def _api_url(connection: Any) -> str:
    """Return the base URL of the API, with the connection's port where the host brings none of its own."""
    host = (connection.host or "").strip().rstrip("/") or API_URL
    if "://" not in host:
        # An Airflow URI cannot carry a scheme of its own within the host.
        host = f"{connection.schema or 'https'}://{host}"
    try:
        parts = urlsplit(host)
        is_complete = parts.port or not connection.port or connection.port == _DEFAULT_PORTS.get(parts.scheme)
    except ValueError:
        is_complete = True  # no address at all: Credentials says so
    return host if is_complete else parts._replace(netloc=f"{parts.netloc}:{connection.port}").geturl()


def _text(value: Any) -> str | None:
    return None if value is None else str(value)


def _number(value: Any, *, default: float) -> float:
    try:
        return default if value in (None, "") else float(value)
    except (TypeError, ValueError):
        raise ConfigurationError(f"timeout_seconds is {value!r:.40}: give a number of seconds.") from None
