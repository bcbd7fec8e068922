"""The database file of a single machine's store: its lock, its schema, and what SQLite's errors mean."""

from __future__ import annotations

import errno
import fcntl
import os
import sqlite3
from pathlib import Path
from typing import BinaryIO

from covey.base.errors import CoveyError, NoSpace, Refused, Unavailable
from covey.base.files import sync_directory

APPLICATION_ID = 0x436F7665  # "Cove": tells our files from others'
SCHEMA_VERSION = 1
ORDINAL_BITS = 7  # a change's position is its revision << 7 | its place among the at most 128 of its transaction
# two questions: SQLite answers one of min() and max() from the end of an index, but both at once by reading all of it
LOG_ENDS = "SELECT (SELECT min(position) FROM change), (SELECT max(position) FROM change)"

_SCHEMA = (
    "CREATE TABLE entry (key TEXT NOT NULL UNIQUE, value BLOB NOT NULL, revision INTEGER NOT NULL) STRICT",
    "CREATE TABLE change (position INTEGER PRIMARY KEY, key TEXT NOT NULL, value BLOB) STRICT",
    f"PRAGMA application_id = {APPLICATION_ID}",
    f"PRAGMA user_version = {SCHEMA_VERSION}",
)
_CHECKPOINT_PAGES = 1_000  # 4 MiB of log are carried over into the database at a time
_LOG_BYTES = 16 * 2**20  # what the log file may keep of a disk when a large group has made it longer
_BUSY_WRITER_S = 5.0  # an administrator's sqlite3 may hold the write lock for a moment
_BUSY_READER_S = 1.0

_FULL = {sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR_WRITE, sqlite3.SQLITE_IOERR_SHMSIZE}
_DAMAGED = {sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB}


def explain(error: sqlite3.Error | OSError, path: Path) -> CoveyError:
    """What went wrong with the database at `path`: NoSpace, Refused when it is damaged, else Unavailable."""
    if isinstance(error, OSError):
        is_full, is_damaged = error.errno in (errno.ENOSPC, errno.EDQUOT), False
        what = error.strerror or str(error)
    else:
        code = getattr(error, "sqlite_errorcode", sqlite3.SQLITE_ERROR)
        is_full, is_damaged = code in _FULL, code & 0xFF in _DAMAGED
        what = f"{error} ({getattr(error, 'sqlite_errorname', type(error).__name__)})"
    if is_full:
        return NoSpace(
            f"the disk is full: {what}",
            path,
            f"make room in the file system of {path.parent}; nothing was written, and nothing is lost",
        )
    if is_damaged:
        return damaged(path, what)
    return Unavailable(f"the database failed: {what}", path, "see the kernel's log for its disk, then start Covey again")


def is_passing(error: sqlite3.Error) -> bool:
    """True when the database is sound and only held by another program at the moment."""
    return getattr(error, "sqlite_errorcode", 0) & 0xFF in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED)


def damaged(path: Path, what: str) -> Refused:
    return Refused(f"this is no sound database: {what}", path, "move it away together with its -wal file and restore a backup")


def take_lock(path: Path) -> BinaryIO:
    """Keep other processes from opening the database at `path` for as long as the answer is open. Raises Refused naming
    the process that has it, OSError."""
    file = os.fdopen(os.open(f"{path}.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600), "r+b", buffering=0)
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        holder = file.read(20).decode(errors="replace").strip() or "unknown"
        file.close()
        raise Refused(f"process {holder} has it open", path, f"stop that process first: ps {holder}") from error
    try:
        os.pwrite(file.fileno(), f"{os.getpid():<19}\n".encode(), 0)
    except OSError:
        file.close()
        raise
    return file


def open_writer(path: Path) -> sqlite3.Connection:
    """The connection that writes, to a database that is ours, sound and of this schema; made if there is none.

    Raises Refused when it is somebody else's, damaged or newer; sqlite3.Error, OSError."""
    _make_private(path)
    connection = sqlite3.connect(path, timeout=_BUSY_WRITER_S, isolation_level=None, check_same_thread=False)
    try:
        is_new = _check_ours(connection, path)
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = FULL")
        connection.execute(f"PRAGMA wal_autocheckpoint = {_CHECKPOINT_PAGES}")
        connection.execute(f"PRAGMA journal_size_limit = {_LOG_BYTES}")
        if is_new:
            _make_schema(connection)
        sync_directory(path.parent)
    except BaseException:
        connection.close()
        raise
    return connection


def open_reader(path: Path) -> sqlite3.Connection:
    """A connection that cannot write. Raises sqlite3.Error."""
    connection = sqlite3.connect(path, timeout=_BUSY_READER_S, isolation_level=None, check_same_thread=False)
    connection.execute("PRAGMA query_only = 1")
    return connection


def _make_private(path: Path) -> None:
    """See that the file exists and that its owner alone may read it; SQLite gives its other files the same mode. Raises
    OSError."""
    log = path.with_name(path.name + "-wal")
    if log.exists() and log.stat().st_size and not (path.exists() and path.stat().st_size):
        # SQLite would throw the log away, and with it records: this is never a state that a crash leaves
        raise damaged(path, "it is missing or empty, but its write-ahead log is not")
    os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
    for file in (path, log):
        if file.exists():
            file.chmod(0o600)
    sync_directory(path.parent)


def _check_ours(connection: sqlite3.Connection, path: Path) -> bool:
    """True when the database is empty yet. Raises Refused, before anything in it was touched, when it is not ours."""
    application, version, tables = (
        connection.execute(question).fetchone()[0]
        for question in ("PRAGMA application_id", "PRAGMA user_version", "SELECT count(*) FROM sqlite_schema")
    )
    if not application and not version and not tables:
        return True
    if application != APPLICATION_ID:
        raise Refused("this database is not Covey's", path, "give Covey a path of its own")
    if version > SCHEMA_VERSION:
        raise Refused(
            f"a newer Covey has written it (schema {version}, this one knows {SCHEMA_VERSION})",
            path,
            "install that Covey, or restore a backup",
        )
    finding = connection.execute("PRAGMA quick_check(1)").fetchone()[0]
    if finding != "ok":
        raise damaged(path, finding)
    return False


def _make_schema(connection: sqlite3.Connection) -> None:
    connection.execute("BEGIN IMMEDIATE")
    for statement in _SCHEMA:
        connection.execute(statement)
    connection.execute("COMMIT")
