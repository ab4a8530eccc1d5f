#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Usage: ext4_odd.py FOLDER

Makes a build directory whose steps write what is easy to get wrong: base.tar and odd.tar, folders to
copy, and an Imagefile. FOLDER/again is another one, which builds on the image "odd-vm" of the first.
"""
import io
import os
import struct
import sys
import tarfile

TOP = sys.argv[1]
CAPS = struct.pack("<IIIII", 0x02000001, 1 << 10, 0, 0, 0).decode("latin1")


def entry(tar, name, kind=tarfile.REGTYPE, data=b"", xattrs=(), acl="", **more):
    info = tarfile.TarInfo(name)
    info.type, info.size, info.mtime, info.mode = kind, len(data), 1700000000.25, 0o644
    for key, value in more.items():
        setattr(info, key, value)
    info.pax_headers = {"SCHILY.xattr." + k: v for k, v in xattrs}
    if acl:
        kind_of = "default" if acl.startswith("default:") else "access"
        rest = acl.replace("default:", "")
        info.pax_headers["SCHILY.acl." + kind_of] = "user::rwx," + rest + ",other::---"
    tar.addfile(info, io.BytesIO(data))


def base():
    """A tree as distributions have it, and what the next steps meet in it."""
    with tarfile.open(TOP + "/base.tar", "w", format=tarfile.PAX_FORMAT) as t:
        d = dict(kind=tarfile.DIRTYPE, mode=0o755)
        entry(t, ".", **d, uid=0)
        for name in "etc", "usr", "usr/bin", "var", "var/log", "many", "real":
            entry(t, name, **d)
        entry(t, "etc/passwd", data=b"root:x:0:0::/root:/bin/sh\napp:x:1000:1001::/home/app:/bin/sh\n")
        entry(t, "etc/group", data=b"root:x:0:\napp:x:1001:\nstaff:x:50:\n")
        entry(t, "bin", kind=tarfile.SYMTYPE, linkname="usr/bin")
        entry(t, "var/mail", kind=tarfile.DIRTYPE, mode=0o2775, gid=8)
        entry(t, "tmp", kind=tarfile.DIRTYPE, mode=0o1777)
        entry(t, "usr/bin/su", data=b"x" * 70000, mode=0o4755)
        entry(t, "usr/bin/wall", data=b"w", mode=0o2755, gid=5)
        entry(t, "usr/bin/ping", data=b"p" * 5000, mode=0o755, xattrs=[("security.capability", CAPS)])
        entry(t, "absolute", kind=tarfile.SYMTYPE, linkname="/real")
        entry(t, "nowhere", kind=tarfile.SYMTYPE, linkname="/made/by/link")
        entry(t, "loops", kind=tarfile.SYMTYPE, linkname="../../../../real")
        for i in range(3000):
            entry(t, f"many/file-{i:05}-{'n' * (i % 60)}", data=b"%d" % i)


def odd():
    with tarfile.open(TOP + "/odd.tar", "w", format=tarfile.PAX_FORMAT) as t:
        entry(t, "a/b/c/parents-are-made", data=b"1")
        entry(t, "first", data=b"linked" * 1000, uid=70000, gid=80000)
        entry(t, "second", kind=tarfile.LNKTYPE, linkname="first")
        entry(t, "a/third", kind=tarfile.LNKTYPE, linkname="first")
        entry(t, "empty")
        entry(t, "large", data=os.urandom(3 << 20) + b"tail")
        entry(t, "zeros", data=bytes(300000))
        entry(t, "old", data=b"o", mtime=-86400 * 400)
        entry(t, "far", data=b"f", mtime=5000000000.5)
        entry(t, "pipe", kind=tarfile.FIFOTYPE, mode=0o600, uid=3)
        entry(t, "null", kind=tarfile.CHRTYPE, devmajor=1, devminor=3, mode=0o666)
        entry(t, "disk", kind=tarfile.BLKTYPE, devmajor=259, devminor=70000, mode=0o660, gid=6)
        entry(t, "short-link", kind=tarfile.SYMTYPE, linkname="x" * 59, uid=5)
        entry(t, "long-link", kind=tarfile.SYMTYPE, linkname="y" * 60)
        entry(t, "longer-link", kind=tarfile.SYMTYPE, linkname="z/" * 400)
        entry(t, "n" * 255, data=b"name")
        entry(t, "tab\tand \u00fcmlaut", data=b"u")
        entry(t, "x", data=b"attrs", xattrs=[("user.one", "1"), ("user.two", "2" * 200), ("trusted.t", "v")])
        entry(t, "acl", kind=tarfile.DIRTYPE, mode=0o750,
              acl="default:user:7:rwx,default:group::r-x,default:mask::rwx")
        entry(t, "acl-file", data=b"acl", acl="user:7:rw-,group::r--,mask::rw-")
        entry(t, "setgid", kind=tarfile.DIRTYPE, mode=0o2770, uid=4, gid=50, xattrs=[("user.d", "dir")])
        entry(t, "setgid/root-file", data=b"inherits")
        entry(t, "setgid/own-file", data=b"does not", uid=9, gid=10)
        entry(t, "setgid/implied/file", data=b"deep")
        entry(t, "setgid/dir", kind=tarfile.DIRTYPE, mode=0o755)
        entry(t, "setgid/fifo", kind=tarfile.FIFOTYPE)
        entry(t, "twice", data=b"first one" * 4000)
        entry(t, "twice", data=b"second one")
        entry(t, "became-link", data=b"file")
        entry(t, "became-link", kind=tarfile.SYMTYPE, linkname="a")
        entry(t, "became-link/through", data=b"into a")
        entry(t, "var", kind=tarfile.DIRTYPE, mode=0o711, uid=1)


def files(*names):
    for name in names:
        path = f"{TOP}/{name}"
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, "w", encoding="utf-8") as f:
            f.write(name)


def main():
    os.makedirs(TOP, exist_ok=True)
    base()
    odd()
    files("one", "tree/a", "tree/b/c", "tree/b/d/e", "more/own", "site/var/log/in-merged", "link-dir/file")
    os.symlink("b/c", TOP + "/tree/link")
    os.link(TOP + "/tree/a", TOP + "/tree/b/a-again")
    os.mkdir(TOP + "/tree/void")
    os.makedirs(TOP + "/names")
    for i in range(1500):
        files(f"names/{i:06}")
    with open(TOP + "/tree/sparse", "wb") as f:
        f.seek(1 << 20)
        f.write(b"middle")
        f.truncate(5 << 20)
    with open(TOP + "/Imagefile", "w", encoding="utf-8") as f:
        f.write("""FROM scratch
DISK 200 MB GPT
PARTITION 1 SIZE 1 MB FLAGS bios_grub
PARTITION 2 FORMAT ext4 OPTIONS "-L odd" MOUNT /
ADD base.tar /
ADD odd.tar /
ADD odd.tar /opt/odd
COPY one /etc
COPY one /new/name
COPY --chown=app --chmod=u=rwX,go= tree /home/app/tree/
COPY --chown=:staff tree /home/app/tree/
COPY tree/ /absolute/deep/
COPY one /nowhere/file
COPY more/ /loops
COPY site/ /
COPY --chown=70000:70001 one /var/mail/letter
COPY one /var/mail/
COPY one tree/a /bin/
COPY names/ /many/
COPY one /many/file-00007-nnnnnnn
WORKDIR /srv/made/here
USER app
WORKDIR /var/mail/box
""")
    os.makedirs(TOP + "/again")
    with open(TOP + "/again/Imagefile", "w", encoding="utf-8") as f:
        f.write("FROM odd-vm\nCOPY names/ /many/\nCOPY names/a-new-name-of-a-file-007* /many/\n")
    for i in range(2000):
        files(f"again/names/a-new-name-of-a-file-{i:05}")
    # what is made now can be told from what is copied
    for above, folders, names in os.walk(TOP):
        for name in folders + names:
            os.utime(f"{above}/{name}", (1600000000, 1600000000.125), follow_symlinks=False)


main()
