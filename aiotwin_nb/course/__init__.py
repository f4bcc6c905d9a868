"""The course: chapters (notebooks) with predictions, exercises that check themselves, and a record of both.

In a notebook:

>>> from aiotwin_nb.course import Chapter
>>> chapter = Chapter("02-hfl-from-scratch")

`chapter.predict` asks before, `chapter.reveal` tells after, `chapter.check` examines an exercise, `chapter.summary`
closes. A chapter's exercises and their solutions stand in the notebook itself, see `aiotwin_nb.course.document`.
"""

from aiotwin_nb.course.chapter import Chapter
from aiotwin_nb.course.form import explore
from aiotwin_nb.course.labs import lab_on
from aiotwin_nb.course.workbench import Workbench

__all__ = ["Chapter", "Workbench", "explore", "lab_on"]
