"""Names of timm's networks. timm is imported where a study names one, because it takes seconds."""

from tuner.errors import SpecError, shorten, suggest


def check_timm(member: str) -> None:
    """Refuse a name that timm does not have.

    Args:
        member: `resnet18`, or with the tag of its weights, `resnet18.a1_in1k`.

    Raises:
        SpecError: timm is not installed, or has no such network or weights.
    """
    try:
        import timm
    except ImportError:
        raise SpecError(
            f"architecture: 'timm:{shorten(member)}' needs timm, which is not installed; pip install 'tuner[timm]'"
        ) from None
    name, dot, tag = member.partition(".")
    known = timm.list_models()
    if name not in known:
        raise SpecError(f"architecture: timm has no '{shorten(member)}'; {suggest(name, known)}")
    tags = [full.partition(".")[2] for full in timm.list_pretrained(f"{name}.*")]
    if dot and tag not in tags:
        raise SpecError(f"architecture: timm has no weights '{shorten(tag)}' for {name}; {suggest(tag, tags)}")
