//! Counting: this program runs all scenarios once more as its own child under callgrind, and reads what that wrote.
//!
//! Callgrind counts only while [`weave_measured`] is on the stack, and writes its counts to a new file each time that
//! function returns. So one child is enough for all scenarios, and setting them up does not count.

use std::ffi::OsString;
use std::fs;
use std::io::ErrorKind;
use std::path::Path;
use std::process::Command;

use crate::scenarios::{self, Scenario};

/// The flag that makes this program the child.
pub(crate) const CHILD: &str = "--under-callgrind";
/// Runs that are counted, after one that is not: first uses bind symbols and reserve buffers.
const RUNS: usize = 8;

/// What one scenario needs.
pub(crate) struct Count {
    /// Its name.
    pub(crate) name: String,
    /// What the figure is stated for.
    pub(crate) per: String,
    /// Instructions for one of these.
    pub(crate) instructions: f64,
}

/// What all scenarios need, and what the figures depend on besides our code.
pub(crate) struct Counts {
    /// In the order in which they ran.
    pub(crate) list: Vec<Count>,
    /// Compiler, C library, Valgrind and the CPU it simulates: what, and which.
    pub(crate) made_with: Vec<(&'static str, String)>,
}

impl Counts {
    /// Instructions of the scenario of this name.
    pub(crate) fn of(&self, name: &str) -> Option<f64> {
        self.list.iter().find(|count| count.name == name).map(|count| count.instructions)
    }
}

/// Why there are no figures.
pub(crate) enum NotCounted {
    /// They cannot be had here.
    Skipped(String),
    /// They should be there.
    Failed(String),
}

/// Counts all scenarios.
pub(crate) fn count() -> Result<Counts, NotCounted> {
    if cfg!(debug_assertions) {
        let reason = "built without optimisation; run `cargo bench -p benches --bench instructions`";
        return Err(NotCounted::Skipped(reason.to_owned()));
    }
    let valgrind = match Command::new("valgrind").arg("--version").output() {
        Ok(output) => first_line(&output.stdout),
        Err(e) if e.kind() == ErrorKind::NotFound => {
            return Err(NotCounted::Skipped("no valgrind here; Debian's package has that name".to_owned()));
        }
        Err(e) => return Err(NotCounted::Failed(format!("cannot run valgrind: {e}"))),
    };
    let (list, cpu) = under_callgrind().map_err(NotCounted::Failed)?;
    let rustc = std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    let made_with = vec![
        ("rustc", version(rustc, "--version")),
        ("libc", version("getconf".into(), "GNU_LIBC_VERSION")),
        ("valgrind", valgrind),
        ("cpu", cpu),
    ];
    Ok(Counts { list, made_with })
}

/// Runs the child. Gives back what it counted, and the CPU it found itself on.
fn under_callgrind() -> Result<(Vec<Count>, String), String> {
    let dir = tempfile::tempdir().map_err(|e| format!("cannot make a temporary directory: {e}"))?;
    let out = dir.path().join("out");
    let program = std::env::current_exe().map_err(|e| format!("cannot find this program's file: {e}"))?;
    let mut file = OsString::from("--callgrind-out-file=");
    file.push(&out);
    let output = Command::new("valgrind")
        // Neither a ~/.valgrindrc nor the length of the environment shall make a difference.
        .env_clear()
        .args(["--tool=callgrind", "--command-line-only=yes"])
        .args(["--toggle-collect=*::weave_measured", "--dump-after=*::weave_measured"])
        .arg(file)
        .arg(program)
        .arg(CHILD)
        .output()
        .map_err(|e| format!("cannot run valgrind: {e}"))?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        return Err(format!("valgrind ended with {}: {said}", output.status));
    }
    let said = String::from_utf8_lossy(&output.stdout);
    let mut lines = said.lines();
    let cpu = lines.next().unwrap_or_default().to_owned();
    let list = lines.enumerate().map(|(at, line)| read(line, &out, at + 1)).collect::<Result<Vec<_>, _>>()?;
    Ok((list, cpu))
}

/// Puts together what the child said about a scenario and what callgrind wrote about it.
fn read(line: &str, out: &Path, part: usize) -> Result<Count, String> {
    let mut fields = line.split('\t');
    let (Some(name), Some(per), Some(Ok(units))) =
        (fields.next(), fields.next(), fields.next().map(str::parse::<f64>))
    else {
        return Err(format!("cannot understand what the child said: {line:?}"));
    };
    let mut path = out.as_os_str().to_owned();
    path.push(format!(".{part}"));
    let text =
        fs::read_to_string(&path).map_err(|e| format!("callgrind wrote no {}: {e}", path.display()))?;
    let total = text.lines().find_map(|line| line.strip_prefix("totals: ")?.trim().parse::<f64>().ok());
    match total {
        Some(total) if total > 0.0 => {
            Ok(Count { name: name.to_owned(), per: per.to_owned(), instructions: total / units })
        }
        _ => Err(format!(
            "callgrind counted nothing for {name}; is the bench profile stripped of its symbols?"
        )),
    }
}

/// The child's part: runs all scenarios and says which.
pub(crate) fn run_all() {
    println!("{}", cpu());
    for entry in scenarios::all() {
        let Scenario { per, units, mut prepare, mut run, .. } = (entry.build)();
        let mut inputs: Vec<_> = (0..=RUNS).map(|_| prepare()).collect();
        let mut good = true;
        let mut work = |at: usize| good &= inputs.get_mut(at).map(&mut run) == Some(units);
        work(RUNS);
        weave_measured(&mut work);
        assert!(good, "{} does not do what it should", entry.name);
        println!("{}\t{per}\t{}", entry.name, RUNS * units);
    }
}

/// What callgrind looks for. Never inlined, and without closures of its own, whose names would contain its name.
#[inline(never)]
fn weave_measured(work: &mut dyn FnMut(usize)) {
    for at in 0..RUNS {
        work(at);
    }
}

/// What programs that choose their code by the CPU find under Valgrind.
fn cpu() -> String {
    #[cfg(target_arch = "x86_64")]
    let features = [
        ("aes", std::arch::is_x86_feature_detected!("aes")),
        ("avx2", std::arch::is_x86_feature_detected!("avx2")),
        ("avx512f", std::arch::is_x86_feature_detected!("avx512f")),
    ];
    #[cfg(not(target_arch = "x86_64"))]
    let features: [(&str, bool); 0] = [];
    let names = features.iter().filter(|(_, has)| *has).map(|(name, _)| format!(" {name}"));
    std::env::consts::ARCH.to_owned() + &names.collect::<String>()
}

fn version(program: OsString, argument: &str) -> String {
    let output = Command::new(program).arg(argument).output();
    output.map(|output| first_line(&output.stdout)).unwrap_or_default()
}

fn first_line(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).lines().next().unwrap_or_default().to_owned()
}
