// helm as released: charts are rendered by the real program, in tests too.
// In: helm's own arguments. Out: helm's own behaviour. A module of its own: helm pins other versions than Kubernetes does.
package main

import (
	"log/slog"
	"os"

	helmcmd "helm.sh/helm/v4/pkg/cmd"
	"helm.sh/helm/v4/pkg/kube"
)

func main() {
	kube.ManagedFieldsManager = "helm"
	command, err := helmcmd.NewRootCmd(os.Stdout, os.Args[1:], helmcmd.SetupLogging)
	if err != nil {
		slog.Warn("command failed", slog.Any("error", err))
		os.Exit(1)
	}
	if err := command.Execute(); err != nil {
		if commandError, ok := err.(helmcmd.CommandError); ok {
			os.Exit(commandError.ExitCode)
		}
		os.Exit(1)
	}
}
