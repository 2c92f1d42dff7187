//! Generates the code of `stage-proto` and tells where the committed code differs from it.
//!
//! The README says why this is a package of its own.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use prost::Message as _;

/// Where the definitions are, relative to the workspace.
const PROTO: &str = "proto";
/// Where the generated code is committed, relative to the workspace.
const GENERATED: &str = "crates/stage-proto/src/generated";

/// The file with the definitions themselves, for gRPC reflection.
const DESCRIPTORS: &str = "descriptors.bin";

/// The package whose messages come from strangers: its calls decode no more than they are allowed to unfold to.
const BOUNDED: &str = "stage.signal.v1";

/// How one committed file differs from what the definitions say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Difference {
    /// The definitions ask for this file, and it is not there.
    Missing(PathBuf),
    /// The file is there with other content; the line is the first that differs.
    Changed(PathBuf, usize),
    /// The file is there, and no definition asks for it.
    Left(PathBuf),
}

impl std::fmt::Display for Difference {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Missing(path) => write!(f, "{}: not generated yet", path.display()),
            Self::Changed(path, line) => {
                write!(f, "{}:{line}: differs from the definitions", path.display())
            }
            Self::Left(path) => write!(f, "{}: no definition asks for it", path.display()),
        }
    }
}

/// Compares the committed code with the definitions; changes nothing.
pub fn check(workspace: &Path) -> Result<Vec<Difference>> {
    let wanted = generate(&workspace.join(PROTO))?;
    let committed = read_files(&workspace.join(GENERATED))?;
    Ok(differences(&wanted, &committed))
}

/// Makes the committed code what the definitions say, and returns what it changed.
pub fn write(workspace: &Path) -> Result<Vec<Difference>> {
    let folder = workspace.join(GENERATED);
    let wanted = generate(&workspace.join(PROTO))?;
    let differences = differences(&wanted, &read_files(&folder)?);
    fs::create_dir_all(&folder)?;
    for difference in &differences {
        match difference {
            Difference::Missing(path) | Difference::Changed(path, _) => {
                let name = file_name(path);
                fs::write(folder.join(&name), &wanted[&name])?;
            }
            Difference::Left(path) => fs::remove_file(folder.join(file_name(path)))?,
        }
    }
    Ok(differences)
}

fn differences(
    wanted: &BTreeMap<String, Vec<u8>>,
    committed: &BTreeMap<String, Vec<u8>>,
) -> Vec<Difference> {
    let path = |name: &str| Path::new(GENERATED).join(name);
    let mut found = Vec::new();
    for (name, text) in wanted {
        match committed.get(name) {
            None => found.push(Difference::Missing(path(name))),
            Some(old) if old != text => {
                found.push(Difference::Changed(path(name), first_differing_line(old, text)));
            }
            Some(_) => {}
        }
    }
    found.extend(
        committed
            .keys()
            .filter(|name| !wanted.contains_key(*name))
            .map(|name| Difference::Left(path(name))),
    );
    found
}

fn first_differing_line(a: &[u8], b: &[u8]) -> usize {
    let lines = |text| <[u8]>::split(text, |byte| *byte == b'\n');
    1 + lines(a).zip(lines(b)).take_while(|(a, b)| a == b).count()
}

/// The generated files by name: one for each protobuf package below `folder`.
fn generate(folder: &Path) -> Result<BTreeMap<String, Vec<u8>>> {
    let mut definitions = Vec::new();
    find_definitions(folder, &mut definitions)?;
    // The order of the definitions shows in the output; that of the directory must not.
    definitions.sort();
    if definitions.is_empty() {
        bail!("no .proto file below {}", folder.display());
    }
    // protox's report shows the offending line; its plain message does not even name the file.
    let mut descriptors = protox::compile(&definitions, [folder])
        .map_err(|error| anyhow::anyhow!("the definitions do not compile: {error:?}"))?;
    let out = tempfile::tempdir()?;
    for (is_bounded, codec) in [(true, "crate::BoundedCodec"), (false, "tonic_prost::ProstCodec")] {
        let mut part = descriptors.clone();
        part.file.retain(|file| (file.package() == BOUNDED) == is_bounded);
        tonic_prost_build::configure()
            .bytes(".")
            .codec_path(codec)
            .out_dir(out.path())
            .compile_fds(part)
            .context("writing the Rust code")?;
    }
    let mut files = read_files(out.path())?;
    // What a running node shows of itself has no comments.
    descriptors.file.iter_mut().for_each(|file| file.source_code_info = None);
    files.insert(DESCRIPTORS.to_owned(), descriptors.encode_to_vec());
    Ok(files)
}

fn find_definitions(folder: &Path, found: &mut Vec<PathBuf>) -> Result<()> {
    let entries =
        fs::read_dir(folder).with_context(|| format!("cannot read {}", folder.display()))?;
    for entry in entries {
        let path = entry?.path();
        if path.is_dir() {
            find_definitions(&path, found)?;
        } else if path.extension().is_some_and(|extension| extension == "proto") {
            found.push(path);
        }
    }
    Ok(())
}

/// The files of a folder by name; a folder that does not exist has none.
fn read_files(folder: &Path) -> Result<BTreeMap<String, Vec<u8>>> {
    let mut files = BTreeMap::new();
    if !folder.is_dir() {
        return Ok(files);
    }
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        let bytes = fs::read(&path).with_context(|| format!("cannot read {}", path.display()))?;
        files.insert(file_name(&path), bytes);
    }
    Ok(files)
}

fn file_name(path: &Path) -> String {
    path.file_name().unwrap_or_default().to_string_lossy().into_owned()
}
