//! The memory limit of the control group that the process runs in: the container's or the unit's.

use std::fs;
use std::path::{Component, Path};

/// The lowest memory limit that applies to this process, if there is one.
pub(crate) fn memory_limit() -> Option<u64> {
    let groups = fs::read_to_string("/proc/self/cgroup").ok()?;
    limit_of(&groups, Path::new("/sys/fs/cgroup"))
}

/// Reads the limits below `root` of the groups that `groups` lists, in the form of
/// `/proc/self/cgroup` (cgroups(7)), and of the groups around them: each limit holds for all groups
/// inside. In a container the path is often the host's, so that only `root` itself is there.
fn limit_of(groups: &str, root: &Path) -> Option<u64> {
    groups.lines().filter_map(|line| limit_of_line(line, root)).min()
}

fn limit_of_line(line: &str, root: &Path) -> Option<u64> {
    let mut fields = line.splitn(3, ':');
    let (hierarchy, controllers, path) = (fields.next()?, fields.next()?, fields.next()?);
    let (mount, file) = if hierarchy == "0" && controllers.is_empty() {
        (root.to_path_buf(), "memory.max")
    } else if controllers.split(',').any(|controller| controller == "memory") {
        (root.join("memory"), "memory.limit_in_bytes")
    } else {
        return None;
    };
    // A group outside of the process's namespace is shown with `..`.
    let inside = Path::new(path).components().filter(|it| matches!(it, Component::Normal(_)));
    let group = mount.join(inside.collect::<std::path::PathBuf>());
    let around = group.ancestors().take_while(|folder| folder.starts_with(&mount));
    // Without a limit, version 2 says `max`, and version 1 a number close to 2^63.
    around
        .filter_map(|folder| fs::read_to_string(folder.join(file)).ok()?.trim().parse().ok())
        .min()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn root_with(files: &[(&str, &str)]) -> tempfile::TempDir {
        let root = tempfile::tempdir().unwrap();
        for (path, text) in files {
            let path = root.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        root
    }

    #[test]
    fn the_lowest_limit_of_a_group_and_those_around_it_holds() {
        let root = root_with(&[
            ("memory.max", "max\n"),
            ("pods/memory.max", "536870912\n"),
            ("pods/one/memory.max", "max\n"),
            ("other/memory.max", "1\n"),
        ]);
        assert_eq!(limit_of("0::/pods/one\n", root.path()), Some(512 << 20));
        assert_eq!(limit_of("0::/pods/one/not/mounted\n", root.path()), Some(512 << 20));
        assert_eq!(limit_of("0::/\n", root.path()), None);
    }

    #[test]
    fn a_container_that_sees_only_its_own_group_finds_its_limit() {
        let root = root_with(&[("memory.max", "268435456\n")]);
        for groups in ["0::/\n", "0::/../../kubepods/pod1\n", "0::/docker/abc\n"] {
            assert_eq!(limit_of(groups, root.path()), Some(256 << 20), "{groups}");
        }
    }

    #[test]
    fn version_one_is_read_too() {
        let root = root_with(&[
            ("memory/memory.limit_in_bytes", "9223372036854771712\n"),
            ("memory/docker/memory.limit_in_bytes", "134217728\n"),
        ]);
        let groups = "9:name=systemd:/\n4:cpu,memory:/docker\n0::/\n";
        assert_eq!(limit_of(groups, root.path()), Some(128 << 20));
        assert_eq!(limit_of("", root.path()), None);
    }
}
