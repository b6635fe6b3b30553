"""Who gets an alert: `FeedAlert` writes the message and hands it to any Airflow notifier."""

import importlib
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

from airflow.sdk import BaseNotifier, Context
from asset_changes.errors import ConfigurationError
from asset_changes.monitoring.alerts import Alert

VARIABLE = "ASSET_CHANGES_NOTIFIER"
_EXAMPLE = (
    '{"notifier": "airflow.providers.smtp.notifications.smtp.SmtpNotifier", "to": "you@example.com", '
    '"subject": "{{ alert.subject }}", "html_content": "{{ alert.html }}"}'
)


@dataclass(frozen=True, kw_only=True)
class NotifierChoice:
    """The notifier that a user names: its class and what it is made with."""

    notifier: type[BaseNotifier]
    arguments: Mapping[str, Any]

    @classmethod
    def from_environment(cls, environment: Mapping[str, str] = os.environ) -> Self | None:
        """Return the choice in ASSET_CHANGES_NOTIFIER, None if there is none, or raise ConfigurationError."""
        text = environment.get(VARIABLE, "").strip()
        if not text:
            return None
        try:
            arguments = json.loads(text)
            path = str(arguments.pop("notifier"))
        except (ValueError, KeyError, AttributeError, TypeError):
            raise ConfigurationError(f"{VARIABLE} is no JSON object with a notifier: write {_EXAMPLE}") from None
        if "alert." not in text:
            raise ConfigurationError(
                f"{VARIABLE} never names the alert, so its messages would be empty: put {{{{ alert.subject }}}}, "
                "{{ alert.text }} or {{ alert.html }} into one of the notifier's templated fields."
            )
        return cls(notifier=_imported(path), arguments=arguments)


class FeedAlert(BaseNotifier):
    """Sends one alert of the watchdog through the notifier that the user chose.

    The chosen notifier's templates see the message as `alert`: `alert.subject`, `alert.text`,
    `alert.html`, and its parts `alert.what`, `alert.since`, `alert.until`, `alert.next_step`, `alert.link`,
    `alert.entry`, `alert.condition`, `alert.channel_id`, `alert.is_over`.

    :param alert: the message.
    :param choice: the notifier to hand it to.
    """

    def __init__(self, alert: Alert, choice: NotifierChoice) -> None:
        super().__init__()
        self.alert = alert
        self.choice = choice

    def notify(self, context: Context) -> None:
        """Hand the message on; whatever the notifier raises goes up."""
        try:
            notifier = self.choice.notifier(**self.choice.arguments)
        except TypeError as error:
            raise ConfigurationError(
                f"{self.choice.notifier.__name__} in {VARIABLE} cannot be made: {error}"
            ) from error
        # A value of the context, never part of a template: what Getty sent is not rendered.
        notifier({**context, "alert": self.alert})


def _imported(path: str) -> type[BaseNotifier]:
    module, _, name = path.rpartition(".")
    try:
        found = getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError, ValueError) as error:
        raise ConfigurationError(
            f"{VARIABLE} names {path}, which cannot be imported ({error}): install its provider or correct the path."
        ) from error
    if not (isinstance(found, type) and issubclass(found, BaseNotifier)):
        raise ConfigurationError(f"{VARIABLE} names {path}, which is no Airflow notifier.")
    return found
