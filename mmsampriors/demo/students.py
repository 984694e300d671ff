"""The students that the page offers, by the names under which it shows them."""

from pathlib import Path
from typing import Dict, Optional

from mmsampriors.restoring import Restorer
from mmsampriors.restoring.students import packaged_students

from .damage import KINDS


def find_students(student: Optional[str], device: Optional[str] = None) -> Dict[str, Restorer]:
    """The student that was named, or those that come with the package.

    Args:
        student (str, optional): What :class:`.Restorer` takes.
        device (str, optional): Where it runs.

    Returns:
        dict[str, Restorer]: Empty where none was named and none comes with the package.

    Raises:
        FileNotFoundError: A file of a student is missing.
        ValueError: A student cannot be read.
    """
    if student is not None:
        return {_title(student): Restorer(student, device=device)}
    return {name: Restorer(name, device=device) for name in packaged_students()}


def _title(student):
    path = Path(student)
    return f'{path.parent.name}/{path.name}' if path.parent.name else path.name


def suited(students: Dict[str, Restorer], kind: str) -> Optional[str]:
    """The student that removes a kind of damage by its name, as those of the package do, or None."""
    return kind if kind in students else None


def first_damage(students: Dict[str, Restorer]) -> str:
    """The damage that the page starts with: one that a student's name speaks of, or else noise."""
    return next((kind for kind in KINDS if any(kind in name for name in students)), 'noise')
