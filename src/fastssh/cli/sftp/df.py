"""The tables of df: space in KiB or readable, or inodes."""

from __future__ import annotations

from fastssh.cli.sftp.listing import scaled
from fastssh.sftp.messages import SFTPStatVFS


def df_text(known: SFTPStatVFS, flags: str) -> str:
    """A heading and a line, as sftp(1) shows them."""
    used = known.f_blocks - known.f_bfree
    share = _share(used, known.f_blocks)
    if "i" in flags:
        inodes = known.f_files - known.f_ffree
        figures = f"{known.f_files:11} {inodes:11} {known.f_favail:11} {known.f_ffree:11}"
        heading = "     Inodes        Used       Avail      (root)"
        share = _share(inodes, known.f_files)
    else:
        sizes = [blocks * known.f_frsize for blocks in (known.f_blocks, used, known.f_bavail, known.f_bfree)]
        if "h" in flags:
            figures = " ".join(f"{scaled(size):>7}B" for size in sizes)
            heading = "    Size     Used    Avail   (root)"
        else:
            figures = " ".join(f"{size // 1024:12}" for size in sizes)
            heading = "        Size         Used        Avail       (root)"
    return f"{heading}    %Capacity\n{figures}         {share}\n"


def _share(part: int, whole: int) -> str:
    return f"{100 * part // whole:3}%" if whole else "ERR"
