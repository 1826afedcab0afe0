"""What JSON has to hold: no field that is not named, and no number that is none."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, ValidationError


class Record(BaseModel):
    """Of what is written, read or asked for."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


def briefly(error: Exception) -> str:
    """On one line; of several faults of a record the first."""
    if not isinstance(error, ValidationError):
        return str(error)
    first = error.errors()[0]
    return f"{'.'.join(map(str, first['loc'])) or 'the whole'}: {first['msg']}"
