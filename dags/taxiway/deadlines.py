"""Import path of the deadline callback that version 0.1 stored: remove it when no run of that version can be active."""

from taxiway.operations.deadlines import missed

__all__ = ["missed"]
