"""The keys of one SRT connection: agreed on under a passphrase, renewed under way, used on packets.

After draft-sharabayko-srt-01, sections 3.2.2 and 6: a *key message* carries one or two stream keys,
wrapped with a key that is made of the passphrase. Packets are encrypted with AES in counter mode.
"""

import hashlib
import secrets
import struct

from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.algorithms import AES
from cryptography.hazmat.primitives.ciphers.modes import CTR
from cryptography.hazmat.primitives.keywrap import InvalidUnwrap, aes_key_unwrap, aes_key_wrap

MIN_PASSPHRASE_BYTES, MAX_PASSPHRASE_BYTES = 10, 79
KEY_BYTES = (16, 24, 32)

EVEN, ODD = 1, 2
"""Which of its two keys a packet is encrypted with, and which keys a key message carries."""

_HEAD = struct.Struct(">BHBIBBBBHBB")
_VERSION_AND_TYPE, _SIGN, _IN_COUNTER_MODE, _IN_SRT = 0x12, 0x2029, 2, 2
_SALT_BYTES, _CHECK_BYTES, _ROUNDS = 16, 8, 2048


class WrongPassphrase(Exception):
    """A key message was made with another passphrase."""


class SrtKeys:
    """The keys of one connection under `passphrase`."""

    def __init__(self, passphrase: str, *, num_key_bytes: int = 16) -> None:
        """`num_key_bytes`: how long the key is that this side makes, one of `KEY_BYTES`."""
        self._passphrase, self.num_key_bytes = passphrase.encode(), num_key_bytes
        self._salt = b""
        self._keys: dict[int, AES] = {}
        self._last_message: bytes | None = None

    def offer(self) -> bytes:
        """Make a key; returns the key message that tells it to who knows the passphrase."""
        salt, key = secrets.token_bytes(_SALT_BYTES), secrets.token_bytes(self.num_key_bytes)
        wrapped = aes_key_wrap(self._wrapping_key(salt, self.num_key_bytes), key)
        head = _HEAD.pack(
            _VERSION_AND_TYPE, _SIGN, EVEN, 0, _IN_COUNTER_MODE, 0, _IN_SRT, 0, 0,
            _SALT_BYTES // 4, self.num_key_bytes // 4,
        )  # fmt: skip
        message = head + salt + wrapped
        self.take(message)
        return message

    def take(self, message: bytes) -> None:
        """Keep the keys that a key message carries, beside one that it does not carry.

        Raises:
            WrongPassphrase: it was made with another passphrase.
            ValueError: it is malformed, or of a kind that is not supported.
        """
        if message == self._last_message:
            return
        if len(message) < _HEAD.size + _SALT_BYTES:
            raise ValueError("a key message is cut off")
        kind, sign, which, _, cipher, tag, _, _, _, salt_words, key_words = _HEAD.unpack_from(
            message
        )
        num_key_bytes, which = 4 * key_words, which & (EVEN | ODD)
        if (kind, sign, salt_words) != (_VERSION_AND_TYPE, _SIGN, _SALT_BYTES // 4) or not which:
            raise ValueError("a key message is malformed")
        if (cipher, tag) != (_IN_COUNTER_MODE, 0) or num_key_bytes not in KEY_BYTES:
            raise ValueError("it encrypts otherwise than with AES in counter mode")
        salt = message[_HEAD.size : _HEAD.size + _SALT_BYTES]
        wrapped = message[_HEAD.size + _SALT_BYTES :]
        num_keys = 2 if which == EVEN | ODD else 1
        if len(wrapped) != _CHECK_BYTES + num_keys * num_key_bytes:
            raise ValueError("a key message is malformed")
        try:
            keys = aes_key_unwrap(self._wrapping_key(salt, num_key_bytes), wrapped)
        except InvalidUnwrap as error:
            raise WrongPassphrase from error
        self._salt, self._last_message, self.num_key_bytes = salt, message, num_key_bytes
        carried = [key for key in (EVEN, ODD) if which & key]
        for index, key in enumerate(carried):
            self._keys[key] = AES(keys[index * num_key_bytes : (index + 1) * num_key_bytes])

    def decrypted(self, payload: bytes, *, key: int, sequence: int) -> bytes | None:
        """What a packet says that was encrypted with the `EVEN` or the `ODD` key; None where that
        key is not known, or it was not encrypted."""
        cipher = self._keys.get(key)
        if cipher is None:
            return None
        counter = int.from_bytes(self._salt[:14]) ^ sequence
        decryptor = Cipher(cipher, CTR(counter.to_bytes(14) + bytes(2))).decryptor()
        return decryptor.update(payload)

    def _wrapping_key(self, salt: bytes, num_bytes: int) -> bytes:
        return hashlib.pbkdf2_hmac("sha1", self._passphrase, salt[-8:], _ROUNDS, num_bytes)
