"""Functions that check and protect data. Their secrets are marked sensitive, so that nothing ever shows them."""

import hashlib
import hmac
import re
from dataclasses import dataclass
from typing import Literal

from dispatcher import GiveUp
from tasks.shared import registry


@dataclass(frozen=True, kw_only=True)
class Digest:
    """The fingerprint of a text."""

    algorithm: str
    hexadecimal: str
    bytes_hashed: int


@registry.function(
    name="security.hash_text",
    tags={"checksum"},
    examples=(
        "what is the sha256 of this text",
        "compute a checksum of the string",
        "hash: hello world",
        "计算这段文字的SHA256哈希值",
        "生成MD5校验码",
    ),
)
def hash_text(text: str, algorithm: Literal["sha256", "sha512", "sha1", "md5"] = "sha256") -> Digest:
    """Compute the hash or checksum of a text (its UTF-8 bytes).

    Args:
        text: the text to hash.
        algorithm: sha1 and md5 are for old checksums only; neither is safe against forgery.
    """
    data = text.encode()
    return Digest(
        algorithm=algorithm,
        hexadecimal=hashlib.new(algorithm, data, usedforsecurity=False).hexdigest(),
        bytes_hashed=len(data),
    )


@dataclass(frozen=True, kw_only=True)
class MaskedCard:
    """A payment card that can be shown."""

    masked: str
    network: Literal["Visa", "Mastercard", "American Express", "UnionPay", "Discover", "other"]


@registry.function(
    name="security.mask_card",
    tags={"payment", "privacy"},
    sensitive={"card_number"},
    examples=(
        "mask this credit card number so I can put it on the receipt",
        "is my card number valid",
        "hide all but the last four digits of the card",
        "把银行卡号脱敏",
        "校验这张信用卡号并隐藏中间几位",
    ),
)
def mask_card(card_number: str) -> MaskedCard:
    """Check a payment card number by its check digit and mask all but its last four digits.

    Source: ISO/IEC 7812-1, annex B (the Luhn formula).

    Args:
        card_number: 12 to 19 digits; blanks and hyphens between them do not matter.

    Raises:
        GiveUp: if it is no card number. No later try can change that, and the message never holds the number.
    """
    digits = re.sub(r"[\s-]", "", card_number)
    if re.fullmatch(r"\d{12,19}", digits, re.ASCII) is None:
        msg = "a card number has 12 to 19 digits"
        raise GiveUp(msg)
    total = 0
    for place, digit in enumerate(reversed(digits)):
        value = int(digit) * (2 if place % 2 else 1)
        total += value - 9 if value > 9 else value  # noqa: PLR2004 - the sum of two digits
    if total % 10:
        msg = "the check digit is wrong: a digit was mistyped, or two were swapped"
        raise GiveUp(msg)
    return MaskedCard(masked="•" * (len(digits) - 4) + digits[-4:], network=_network(digits))


def _network(digits: str) -> Literal["Visa", "Mastercard", "American Express", "UnionPay", "Discover", "other"]:
    if digits[0] == "4":
        return "Visa"
    if digits[:2] in {"34", "37"}:
        return "American Express"
    if "51" <= digits[:2] <= "55" or "2221" <= digits[:4] <= "2720":
        return "Mastercard"
    if digits[:2] == "62":
        return "UnionPay"
    return "Discover" if digits[:4] == "6011" or digits[:2] == "65" else "other"


@dataclass(frozen=True, kw_only=True)
class Signature:
    """What proves that a text came from somebody who knows the secret."""

    algorithm: Literal["HMAC-SHA256"] = "HMAC-SHA256"
    hexadecimal: str


@registry.function(
    name="security.sign_text",
    tags={"signature", "webhook"},
    sensitive={"secret"},
    examples=(
        "sign this message with my secret key",
        "compute the hmac signature of a webhook body",
        "用密钥给这段消息签名",
        "生成HMAC签名",
    ),
)
def sign_text(text: str, secret: str) -> Signature:
    """Sign a text with a secret key: HMAC-SHA256, as webhooks use it.

    Source: RFC 2104.

    Args:
        text: the text to sign.
        secret: the key, at least 8 characters.

    Raises:
        ValueError: if the secret is too short.
    """
    if len(secret) < 8:  # noqa: PLR2004 - the number the docstring names
        msg = "the secret must have at least 8 characters"
        raise ValueError(msg)
    return Signature(hexadecimal=hmac.new(secret.encode(), text.encode(), hashlib.sha256).hexdigest())
