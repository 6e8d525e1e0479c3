"""The callback's name of deadlines that version 0.1 stored: remove it when none of its runs can be under way."""

from taxiway.operations.deadlines import missed

__all__ = ["missed"]
