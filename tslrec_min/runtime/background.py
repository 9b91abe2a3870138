"""Work in a thread of its own, beside what the caller does; it pays where the work waits or releases the GIL."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future
from functools import partial
from threading import Thread
from typing import TypeVar

_Item = TypeVar("_Item")
_Value = TypeVar("_Value")


def begun(function: Callable[[], _Value]) -> Callable[[], _Value]:
    """Call a function in a thread, and return what waits for it, and then returns its value or raises its error.

    Nobody has to wait: after an error or Ctrl-C elsewhere the thread ends by itself, at the latest with the process.
    """
    future: Future[_Value] = Future()
    Thread(target=_work, args=(function, future), daemon=True).start()
    return future.result


def one_ahead(items: Iterable[_Value]) -> Iterator[_Value]:
    """Yield the items; the next one is made in a thread meanwhile. Errors come where they would come without it."""
    remaining = iter(items)
    following = begun(partial(_next, remaining))
    while item := following():
        following = begun(partial(_next, remaining))
        yield item[0]


def each_ahead(function: Callable[[_Item], _Value], items: Iterable[_Item], count: int
               ) -> Iterator[tuple[_Item, _Value]]:
    """Yield every item and the function's value for it, in order; threads call it for up to `count` items ahead.

    Errors, of the items too, come where they would come without threads.
    """
    remaining, error = iter(items), None
    waiting: deque[tuple[_Item, Callable[[], _Value]]] = deque()
    while True:
        try:
            item = next(remaining)
        except StopIteration:
            break
        except Exception as failed:  # it is not yet its turn
            error = failed
            break
        waiting.append((item, begun(partial(function, item))))
        if len(waiting) > count:
            first, value = waiting.popleft()
            yield first, value()
    for item, value in waiting:
        yield item, value()
    if error:
        raise error


def _work(function: Callable[[], _Value], future: Future[_Value]) -> None:
    try:
        future.set_result(function())
    except BaseException as error:  # raised again where the value is asked for
        future.set_exception(error)


def _next(items: Iterator[_Value]) -> tuple[_Value] | None:
    """Return the next item, None if there is none."""
    for item in items:
        return (item,)
    return None
