"""When repairs happen: as the module that they mend is imported, and on which versions of its package.

Importing this imports nothing of OpenMMLab, so that ``import mmsampriors`` stays light.
"""

import contextlib
import functools
import importlib.abc
import importlib.metadata
import re
import sys
from typing import Optional, Tuple


def up_to(package: str, version: str, after: Optional[str] = None):
    """Lets a repair run only where a package is installed, and as old as the last version that has the fault.

    Args:
        package (str): Its name.
        version (str): The last with the fault.
        after (str, optional): A module: the repair waits until that is imported.
    """

    def gate(repair):
        @functools.wraps(repair)
        def gated():
            try:
                installed = importlib.metadata.version(package)
            except importlib.metadata.PackageNotFoundError:
                return
            if release_of(installed) <= release_of(version):
                after_import(after, repair) if after else repair()

        return gated

    return gate


def release_of(version: str) -> Tuple[int, ...]:
    """The numbers of a version: (2, 6, 0) of '2.6.0+cu124'. Without ``packaging``, which not everybody has."""
    return tuple(map(int, re.match(r'\d+(\.\d+)*', version)[0].split('.')))


class _AroundImport(importlib.abc.MetaPathFinder):
    """Runs the body of one module inside a context when it is imported, and leaves every other import alone."""

    def __init__(self, name, context, repair):
        self.name, self.context, self.repair = name, context, repair

    def find_spec(self, fullname, path=None, target=None):
        if fullname != self.name:
            return None
        # Those before this one, of the same module, have been asked already.
        others = sys.meta_path[sys.meta_path.index(self) + 1 :]
        spec = next(filter(None, (finder.find_spec(fullname, path, target) for finder in others)), None)
        if spec is not None:
            run_body = spec.loader.exec_module

            def run_inside(module):
                with self.context():
                    run_body(module)

            spec.loader.exec_module = run_inside
        return spec


def around_import(name, context, repair=None):
    repair = repair or context
    known = any(isinstance(finder, _AroundImport) and finder.repair is repair for finder in sys.meta_path)
    if name not in sys.modules and not known:
        sys.meta_path.insert(0, _AroundImport(name, context, repair))


def after_import(name, mend):
    """Calls ``mend`` when a module has been imported, now if it is already."""

    @contextlib.contextmanager
    def mended_after():
        yield
        mend()

    if name in sys.modules:
        mend()
    else:
        around_import(name, mended_after, mend)


def in_place_of(owner, name: str):
    """Puts a function in the place of one of a class or module, once; its first argument is upstream's function."""

    def put(function):
        upstream = getattr(owner, name)

        @functools.wraps(upstream)
        def mended(*args, **kwargs):
            return function(upstream, *args, **kwargs)

        if not getattr(upstream, 'mended', False):
            mended.mended = True
            setattr(owner, name, mended)

    return put
