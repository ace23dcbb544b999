// The Kubernetes control plane as one program, for tests against the real thing.
//
// What comes in: the name it is called by (kube-apiserver, kube-controller-manager, kube-scheduler, keygen)
// and that program's own arguments. What goes out: that program's behaviour, as released.
//
// One binary instead of three because the three share almost all of their code: linking it once saves minutes
// and half a gigabyte. etcd and kubectl share little of it and have programs of their own (etcd, kubectl), which start faster.
//
// The main functions below are those of the released programs (k8s.io/kubernetes/cmd/*), nothing is added to them.
package main

import (
	"fmt"
	"os"
	"path/filepath"

	_ "time/tzdata" // CronJob time zones, on machines without a zone database

	"github.com/spf13/cobra"
	"k8s.io/component-base/cli"
	_ "k8s.io/component-base/logs/json/register"
	_ "k8s.io/component-base/metrics/prometheus/clientgo"
	_ "k8s.io/component-base/metrics/prometheus/version"
	apiserver "k8s.io/kubernetes/cmd/kube-apiserver/app"
	controllermanager "k8s.io/kubernetes/cmd/kube-controller-manager/app"
	scheduler "k8s.io/kubernetes/cmd/kube-scheduler/app"
)

func main() {
	name := filepath.Base(os.Args[0])
	var command *cobra.Command
	switch name {
	case "kube-apiserver":
		command = apiserver.NewAPIServerCommand()
	case "kube-controller-manager":
		command = controllermanager.NewControllerManagerCommand()
	case "kube-scheduler":
		command = scheduler.NewSchedulerCommand()
	case "keygen":
		if len(os.Args) != 2 {
			fmt.Fprintln(os.Stderr, "usage: keygen DIRECTORY")
			os.Exit(2)
		}
		if err := keygen(os.Args[1]); err != nil {
			fmt.Fprintln(os.Stderr, "keygen:", err)
			os.Exit(1)
		}
		return
	default:
		fmt.Fprintf(os.Stderr, "%s: call this program as kube-apiserver, kube-controller-manager, kube-scheduler or keygen\n", name)
		os.Exit(2)
	}
	os.Exit(cli.Run(command))
}
