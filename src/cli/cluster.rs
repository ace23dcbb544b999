//! `driftless cluster`: the embedded cluster alone.

use super::args::ClusterCommand;
use super::exit::Exit;
use super::output::print_text;
use super::setup::one;
use crate::cluster::{ClusterOptions, EmbeddedCluster};
use crate::object::Problem;
use crate::object::quantity::Quantity;
use std::path::{Path, PathBuf};

/// Runs it until SIGINT or SIGTERM.
///
/// # Errors
/// When the port is taken, a size is no quantity, or the kubeconfig cannot be written.
pub async fn run(args: &ClusterCommand) -> Result<Exit, Vec<Problem>> {
    check(args)?;
    let options = ClusterOptions {
        nodes: args.nodes,
        cpu: args.cpu.clone(),
        memory: args.memory.clone(),
        port: args.port,
        ..ClusterOptions::default()
    };
    let cluster = EmbeddedCluster::start(options).await.map_err(|e| one(e.into()))?;
    let own = args.write_kubeconfig.is_none();
    let file = write_kubeconfig(&cluster, args.write_kubeconfig.as_deref()).map_err(one)?;
    print_text(&format!(
        "A Kubernetes API with {} simulated nodes of {} CPU and {} memory is at {}.\n\n  export KUBECONFIG={}\n  kubectl get nodes\n\nEverything in it is gone when this ends (Ctrl-C).\n",
        args.nodes,
        args.cpu,
        args.memory,
        cluster.url(),
        file.display()
    ));
    crate::cli::signal().await;
    cluster.shutdown().await;
    if own {
        let _ = std::fs::remove_file(&file);
    }
    Ok(Exit::Done)
}

/// What a node has must be a quantity, and more than nothing.
fn check(args: &ClusterCommand) -> Result<(), Vec<Problem>> {
    let wrong = [("--cpu", &args.cpu, "4 or 500m"), ("--memory", &args.memory, "8Gi or 512Mi")]
        .into_iter()
        .filter(|(_, text, _)| Quantity::parse(text).is_none_or(|quantity| quantity.milli <= 0))
        .map(|(flag, text, examples)| {
            Problem::new("InvalidQuantity", format!("{flag} {text:?} is no quantity above zero"))
                .hint(format!("write it as Kubernetes does: {examples}"))
        });
    let problems: Vec<Problem> = wrong.collect();
    if problems.is_empty() { Ok(()) } else { Err(problems) }
}

/// Writes the kubeconfig, readable by this user only; without a name, to a temporary file.
///
/// # Errors
/// When it cannot be written.
pub fn write_kubeconfig(cluster: &EmbeddedCluster, file: Option<&Path>) -> Result<PathBuf, Problem> {
    use std::io::Write as _;
    use std::os::unix::fs::OpenOptionsExt as _;
    let file = file.map_or_else(
        || std::env::temp_dir().join(format!("driftless-{}.kubeconfig", std::process::id())),
        Path::to_path_buf,
    );
    // Written beside and moved into place: whoever waits for the file never reads half of it.
    let draft = file.with_extension(format!("{}.new", std::process::id()));
    let written = std::fs::OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(&draft)
        .and_then(|mut out| out.write_all(cluster.kubeconfig().as_bytes()))
        .and_then(|()| std::fs::rename(&draft, &file));
    match written {
        Ok(()) => Ok(std::path::absolute(&file).unwrap_or(file)),
        Err(error) => {
            Err(Problem::new("KubeconfigUnwritable", format!("{} cannot be written: {error}", file.display()))
                .hint("name another file with --write-kubeconfig"))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_quantities() {
        let command = |cpu: &str, memory: &str| ClusterCommand {
            nodes: 1,
            cpu: cpu.into(),
            memory: memory.into(),
            port: 0,
            write_kubeconfig: None,
        };
        assert!(check(&command("500m", "8Gi")).is_ok());
        for (cpu, memory, said) in [
            ("x", "8Gi", "--cpu \"x\" is no quantity above zero"),
            ("4", "8 GB", "--memory \"8 GB\" is no quantity above zero"),
            ("0", "8Gi", "--cpu"),
            ("4", "-1Gi", "--memory"),
            ("", "8Gi", "--cpu"),
        ] {
            let problems = check(&command(cpu, memory)).unwrap_err();
            assert!(problems.len() == 1 && problems[0].message.contains(said), "{problems:?}");
        }
    }
}
