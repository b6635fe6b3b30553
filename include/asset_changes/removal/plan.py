"""Planning: list the files of all that must go, and say whether a person must look before any is deleted."""

import logging
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from itertools import batched_or_islice

from sqlalchemy import Engine
