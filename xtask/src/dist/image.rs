//! The container image, as an archive that `docker load`, `podman load` and `skopeo copy` read: the program,
//! the C library and the users' file, and nothing else. No container engine is needed to write it.
//!
//! The form is that of `docker save`: an OCI image layout with a `manifest.json` for older engines
//! (<https://github.com/opencontainers/image-spec/blob/main/image-layout.md>). What the image runs is set
//! by the last stage of `packaging/Dockerfile`.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::{Value, json};

use super::dockerfile::settings;
use super::release::rfc3339;
use super::sums::sha256;
use super::tree::{Tree, gzip, read};
use super::{Checked, Installed, Kind, Release, unpack};
use crate::process::captured;
use crate::report::Failure;
use crate::setup::is_root;
use crate::workspace::{read as read_text, root, utf8};

pub(super) const KIND: Kind = Kind {
    name: "image",
    is_made_here: cfg!(target_os = "linux"),
    needs: &[],
    build,
    install,
    checks,
};

fn build(release: &Release) -> Result<Vec<PathBuf>, Failure> {
    let layer = files(release)?.tar(release.time)?;
    let packed = gzip(&layer)?;
    let created = rfc3339(release.time)?;
    let dockerfile = read_text(&root().join("packaging/Dockerfile"))?;
    let architecture = architecture(&release.target)?;
    let config = json!({
        "architecture": architecture,
        "config": settings(&dockerfile)?,
        "created": created,
        "history": [{"created": created, "created_by": "cargo xtask dist"}],
        "os": "linux",
        "rootfs": {"type": "layers", "diff_ids": [format!("sha256:{}", sha256(&layer))]},
    });
    let mut blobs = Blobs::default();
    let config = blobs.add("application/vnd.oci.image.config.v1+json", config.to_string().into());
    let layer = blobs.add("application/vnd.oci.image.layer.v1.tar+gzip", packed);
    let old = json!([{
        "Config": Blobs::path(&config),
        "Layers": [Blobs::path(&layer)],
        "RepoTags": [format!("code-assist-proxy:{}", release.version)],
    }]);
    let manifest = json!({
        "schemaVersion": 2,
        "mediaType": MANIFEST,
        "config": config,
        "layers": [layer],
    });
    let mut manifest = blobs.add(MANIFEST, manifest.to_string().into());
    manifest["annotations"] = json!({
        "io.containerd.image.name": format!("docker.io/library/code-assist-proxy:{}", release.version),
        "org.opencontainers.image.ref.name": release.version,
    });
    manifest["platform"] = json!({"architecture": architecture, "os": "linux"});
    let index = json!({
        "schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.index.v1+json",
        "manifests": [manifest],
    });
    let mut archive = blobs.0;
    archive.add("oci-layout", 0o644, r#"{"imageLayoutVersion":"1.0.0"}"#);
    archive.add("index.json", 0o644, index.to_string());
    archive.add("manifest.json", 0o644, old.to_string());
    let path = release.folder().join(format!("{}-image.tar", release.name()));
    fs::write(&path, archive.tar(release.time)?)
        .map_err(|why| Failure::new(format!("cannot write {}: {why}", path.display())))?;
    Ok(vec![path])
}

/// The root of the image. The libraries are those of the machine that the program was built on, at the
/// paths where its loader looks for them.
fn files(release: &Release) -> Result<Tree, Failure> {
    let mut tree = Tree::default();
    tree.add(PROGRAM, 0o755, release.program_bytes()?);
    for library in libraries(&release.program)? {
        tree.add_copy(library.trim_start_matches('/'), 0o755, Path::new(&library))?;
    }
    tree.add(
        "etc/passwd",
        0o644,
        "root:x:0:0:root:/:/sbin/nologin\nnonroot:x:65532:65532::/:/sbin/nologin\n",
    );
    tree.add("etc/group", 0o644, "root:x:0:\nnonroot:x:65532:\n");
    // glibc 2.34 and later has both inside.
    tree.add("etc/nsswitch.conf", 0o644, "hosts: files dns\n");
    for (path, mode, bytes) in release.documents()?.files() {
        tree.add(format!("usr/share/doc/code-assist-proxy/{path}"), mode, bytes);
    }
    for package in ["libc6", "libgcc-s1"] {
        let notice = format!("usr/share/doc/{package}/copyright");
        tree.add_copy(&*notice, 0o644, &Path::new("/").join(&notice))?;
    }
    Ok(tree)
}

/// The paths of the program's libraries and of their loader.
fn libraries(program: &Path) -> Result<Vec<String>, Failure> {
    let listed = captured(Command::new("ldd").arg(program))?;
    let paths = listed
        .lines()
        .filter_map(|line| line.split_whitespace().find(|word| word.starts_with('/')));
    let paths: Vec<_> = paths.map(str::to_owned).collect();
    match listed.contains("not found") || paths.is_empty() {
        true => Err(Failure::new(format!("a library is missing here:\n{listed}"))),
        false => Ok(paths),
    }
}

/// Content by its digest.
#[derive(Debug, Default)]
struct Blobs(Tree);

impl Blobs {
    /// Adds content. Its descriptor.
    fn add(&mut self, kind: &str, bytes: Vec<u8>) -> Value {
        let digest = sha256(&bytes);
        let size = bytes.len();
        self.0.add(format!("blobs/sha256/{digest}"), 0o644, bytes);
        json!({"mediaType": kind, "digest": format!("sha256:{digest}"), "size": size})
    }

    /// The path of the content that a descriptor describes.
    fn path(descriptor: &Value) -> String {
        let digest = descriptor["digest"].as_str().unwrap_or_default();
        format!("blobs/{}", digest.replace(':', "/"))
    }
}

/// Unpacks the layer as an engine does, and runs the image's entry point with the layer as its root.
fn install(_: &Release, files: &[PathBuf], prefix: &Path) -> Result<Installed, Failure> {
    let archive = files.first().ok_or_else(|| Failure::new("there is no image"))?;
    let layout = prefix.join("layout");
    unpack(archive, &layout)?;
    let index = parse(&read(&layout.join("index.json"))?)?;
    let manifest = parse(&blob(&layout, &index["manifests"][0])?)?;
    let config = parse(&blob(&layout, &manifest["config"])?)?;
    blob(&layout, &manifest["layers"][0])?;
    let top = prefix.join("root");
    unpack(&layout.join(Blobs::path(&manifest["layers"][0])), &top)?;
    let entry = config["config"]["Entrypoint"][0].as_str();
    let entry = entry.ok_or_else(|| Failure::new("the image has no entry point"))?;
    let mut words = match is_root() {
        true => vec!["chroot", "--userspec=65532:65532"],
        false => vec!["unshare", "--map-root-user", "chroot"],
    };
    words.extend([utf8(&top)?, entry]);
    let words = words.into_iter().map(Into::into).collect();
    Ok(Installed { prefix: top, words })
}

fn checks(release: &Release, installed: &Installed) -> Vec<Checked> {
    let others = || {
        let listed = captured(
            Command::new("find").args([".", "-type", "f"]).current_dir(&installed.prefix),
        )?;
        let expected = files(release)?;
        let expected: Vec<_> = expected.files().map(|(path, ..)| format!("./{path}")).collect();
        match listed.lines().find(|line| !expected.iter().any(|path| path == line)) {
            Some(other) => Err(Failure::new(format!("the image holds {other}"))),
            None => Ok(()),
        }
    };
    vec![("the image holds nothing else".to_owned(), others())]
}

/// What a descriptor describes, if it is of that digest.
fn blob(layout: &Path, descriptor: &Value) -> Result<Vec<u8>, Failure> {
    let path = Blobs::path(descriptor);
    let bytes = read(&layout.join(&path))?;
    match path.ends_with(&sha256(&bytes)) {
        true => Ok(bytes),
        false => Err(Failure::new(format!("{path} has another checksum"))),
    }
}

fn parse(bytes: &[u8]) -> Result<Value, Failure> {
    serde_json::from_slice(bytes).map_err(|why| Failure::new(format!("the image is broken: {why}")))
}

/// An architecture as Go names it.
fn architecture(target: &str) -> Result<&'static str, Failure> {
    match target.split('-').next() {
        Some("x86_64") => Ok("amd64"),
        Some("aarch64") => Ok("arm64"),
        _ => Err(Failure::new(format!("Go's name of the architecture of {target} is not known"))),
    }
}

const PROGRAM: &str = "usr/local/bin/code-assist-proxy";

const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn content_that_is_not_of_its_digest_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let mut blobs = Blobs::default();
        let descriptor = blobs.add("text/plain", b"one".to_vec());
        blobs.0.write_to(folder.path()).unwrap();
        assert_eq!(blob(folder.path(), &descriptor).unwrap(), b"one");
        fs::write(folder.path().join(Blobs::path(&descriptor)), "two").unwrap();
        assert!(blob(folder.path(), &descriptor).unwrap_err().to_string().contains("checksum"));
    }
}
