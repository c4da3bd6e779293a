//! What the file system below the data folder can promise, as far as the kernel tells: a flush is worth what is below it.

use std::fs;
use std::path::Path;

use super::preflight::Verdict;

/// A line of `/proc/self/mountinfo`, as far as it matters here.
#[derive(Debug, PartialEq, Eq)]
struct Mount<'a> {
    /// `major:minor`.
    device: &'a str,
    /// Where it is; octal escapes for blanks.
    at: &'a str,
    kind: &'a str,
    /// Of the mount and of the file system, separated by commas.
    options: [&'a str; 2],
}

/// What is known of the device's cache.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Cache {
    Unknown,
    /// The kernel says that a completed write is on the medium.
    None,
    /// Volatile, and the kernel flushes it.
    Flushed,
    /// The device says that it is volatile, and the kernel was told that it is not: no flush is sent.
    NotFlushed,
}

/// For the folder itself, which exists.
pub(super) fn check(folder: &Path) -> Verdict {
    let table = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    let canonical = fs::canonicalize(folder).unwrap_or_else(|_| folder.to_path_buf());
    match mount_of(&table, &canonical) {
        None => Verdict::Advise("nothing is known of it: the kernel does not say where it is mounted from".into()),
        Some(mount) => promise(&mount, cache_of(mount.device)),
    }
}

/// The mount with the longest path that leads to the folder; of several at the same place, the last one hides the others.
fn mount_of<'a>(table: &'a str, folder: &Path) -> Option<Mount<'a>> {
    let mounts = table.lines().filter_map(parse);
    let leads = mounts.filter(|mount| folder.starts_with(unescaped(mount.at)));
    leads.max_by_key(|mount| mount.at.len())
}

fn parse(line: &str) -> Option<Mount<'_>> {
    let (mount, file_system) = line.split_once(" - ")?;
    let mut fields = mount.split(' ').skip(2);
    let (device, at, options) = (fields.next()?, fields.nth(1)?, fields.next()?);
    let mut fields = file_system.split(' ');
    let (kind, more) = (fields.next()?, fields.nth(1).unwrap_or(""));
    Some(Mount {
        device,
        at,
        kind,
        options: [options, more],
    })
}

/// The kernel writes a blank as `\040`, a backslash as `\134`, and a few others alike.
fn unescaped(path: &str) -> String {
    let mut plain = Vec::new();
    let mut rest = path.as_bytes();
    while let Some((&byte, behind)) = rest.split_first() {
        let escaped = behind.get(..3).filter(|_| byte == b'\\').and_then(|digits| {
            let digits = std::str::from_utf8(digits).ok()?;
            u8::from_str_radix(digits, 8).ok()
        });
        plain.push(escaped.unwrap_or(byte));
        rest = if escaped.is_some() { &behind[3..] } else { behind };
    }
    String::from_utf8_lossy(&plain).into_owned()
}

fn cache_of(device: &str) -> Cache {
    // A partition has its queue one folder up.
    let of = |name: &str| {
        ["", "../"].iter().find_map(|up| {
            let path = format!("/sys/dev/block/{device}/{up}{name}");
            fs::read_to_string(path).ok()
        })
    };
    let disks = ["", "../"].map(|up| format!("/sys/dev/block/{device}/{up}device/scsi_disk"));
    let disk = disks.iter().find_map(|path| fs::read_dir(path).ok()?.flatten().next());
    let claimed = disk.and_then(|disk| fs::read_to_string(disk.path().join("cache_type")).ok());
    cache(of("queue/write_cache").as_deref(), claimed.as_deref())
}

/// `kernel` is what the queue says, `claimed` what a SCSI or SATA disk says of itself.
fn cache(kernel: Option<&str>, claimed: Option<&str>) -> Cache {
    match kernel.map(str::trim) {
        Some("write back") => Cache::Flushed,
        Some("write through") if claimed.is_some_and(|claimed| claimed.trim().starts_with("write back")) => {
            Cache::NotFlushed
        }
        Some("write through") => Cache::None,
        _ => Cache::Unknown,
    }
}

fn promise(mount: &Mount, cache: Cache) -> Verdict {
    let kind = mount.kind;
    let advise = |what: &str| Verdict::Advise(format!("{kind} at {}: {what}", unescaped(mount.at)));
    match kind {
        "tmpfs" | "ramfs" => {
            return advise("it is memory, so that a power cut or a reboot loses every record; for tests only");
        }
        "overlay" | "aufs" => {
            return advise(
                "a container's own layer goes when the container is removed; put the data folder on a volume",
            );
        }
        "nfs" | "nfs4" | "cifs" | "smb3" | "9p" | "virtiofs" | "ceph" | "glusterfs" | "lustre" => {
            return advise(
                "an acknowledged record is as safe as what the server does when it is asked to flush (of NFS: export it with sync), \
                 and a server that goes away takes the partitions offline; use a local device",
            );
        }
        "btrfs" | "bcachefs" | "zfs" => {
            return advise(
                "it copies what is written over, so that the journal's ring scatters and becomes slow; use ext4 or xfs, or, on \
                 btrfs, give the folder the attribute C (chattr +C) before the first start",
            );
        }
        _ if kind.starts_with("fuse") => {
            return advise("an acknowledged record is as safe as the program behind it makes a flush; use ext4 or xfs");
        }
        _ => {}
    }
    let options = || mount.options.iter().flat_map(|options| options.split(','));
    if let Some(option) = options().find(|option| ["nobarrier", "barrier=0"].contains(option)) {
        return advise(&format!(
            "it is mounted with {option}, so that the device is not told to flush: a power cut loses acknowledged records unless \
             the device has no volatile cache; mount it without"
        ));
    }
    match (kind, cache) {
        (_, Cache::NotFlushed) => advise(
            "the device has a volatile cache, and the kernel does not flush it (queue/write_cache says write through, the disk \
             itself write back): a power cut loses acknowledged records; write \"write back\" to queue/write_cache",
        ),
        ("ext4" | "xfs", Cache::Flushed) => Verdict::Ok(format!("{kind}, on a device whose cache is flushed")),
        ("ext4" | "xfs", Cache::None) => Verdict::Ok(format!("{kind}, on a device that says it has no volatile cache")),
        ("ext4" | "xfs", Cache::Unknown) => Verdict::Ok(format!("{kind}, on a device that says nothing of its cache")),
        _ => advise("nobody has tried it; ext4 and xfs on a local device are what is tested"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TABLE: &str = "22 27 0:21 / /proc rw,relatime - proc proc rw\n\
        27 1 254:0 / / rw,relatime - ext4 /dev/vda rw,discard\n\
        31 27 8:17 / /srv/my\\040data rw,noatime shared:1 master:2 - xfs /dev/sdb1 rw,attr2\n\
        32 27 0:40 / /srv/my\\040data/ram rw - tmpfs tmpfs rw,size=64k\n";

    fn kind_at(folder: &str) -> &'static str {
        mount_of(TABLE, Path::new(folder)).unwrap().kind
    }

    #[test]
    fn the_mount_is_the_nearest_one_above() {
        assert_eq!(kind_at("/srv/other/folder"), "ext4");
        assert_eq!(kind_at("/srv/my data/folder"), "xfs");
        assert_eq!(kind_at("/srv/my data/ram"), "tmpfs");
        assert_eq!(kind_at("/srv/my database"), "ext4");
        let xfs = mount_of(TABLE, Path::new("/srv/my data")).unwrap();
        assert_eq!((xfs.device, xfs.options), ("8:17", ["rw,noatime", "rw,attr2"]));
        assert_eq!(mount_of("", Path::new("/")), None);
        assert!(
            matches!(check(Path::new("/proc/self")), Verdict::Advise(_)),
            "proc is nothing that anybody tried"
        );
    }

    #[test]
    fn each_kind_says_what_it_can_promise() {
        let verdict = |kind: &'static str, options: &'static str, cache| {
            let mount = Mount {
                device: "8:1",
                at: "/data",
                kind,
                options: ["rw,relatime", options],
            };
            promise(&mount, cache)
        };
        for (kind, cache, word) in [
            ("ext4", Cache::Flushed, "is flushed"),
            ("xfs", Cache::None, "no volatile cache"),
        ] {
            let Verdict::Ok(found) = verdict(kind, "rw", cache) else {
                panic!("{kind} is fine")
            };
            assert!(found.contains(word), "{found}");
        }
        let advised = |kind, options, cache| match verdict(kind, options, cache) {
            Verdict::Advise(todo) => todo,
            other => panic!("{kind} {options} {cache:?}: {other:?}"),
        };
        for (kind, word) in [
            ("tmpfs", "memory"),
            ("overlay", "volume"),
            ("nfs4", "server"),
            ("btrfs", "chattr +C"),
            ("fuse.sshfs", "program behind it"),
            ("ntfs3", "nobody has tried it"),
        ] {
            let todo = advised(kind, "rw", Cache::Flushed);
            assert!(
                todo.contains(word) && todo.starts_with(&format!("{kind} at /data: ")),
                "{todo}"
            );
        }
        assert!(advised("ext4", "rw,nobarrier", Cache::Flushed).contains("nobarrier"));
        assert!(advised("ext4", "barrier=0,rw", Cache::Flushed).contains("not told to flush"));
        assert!(advised("xfs", "rw", Cache::NotFlushed).contains("write back"));
    }

    #[test]
    fn a_cache_that_the_kernel_was_told_not_to_flush_is_noticed() {
        assert_eq!(cache(Some("write back\n"), None), Cache::Flushed);
        assert_eq!(cache(Some("write through\n"), None), Cache::None);
        assert_eq!(cache(Some("write through\n"), Some("write through\n")), Cache::None);
        assert_eq!(
            cache(Some("write through\n"), Some("write back, no read (daft)\n")),
            Cache::NotFlushed
        );
        assert_eq!(cache(None, Some("write back")), Cache::Unknown);
    }
}
