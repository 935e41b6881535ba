"""Recordings into a stream, by the wall clock: `onlooker import FOLDER --camera door`."""
