// etcd as released: the store behind the control plane of the tests.
// In: etcd's own arguments. Out: etcd's own behaviour. See ../main.go for the other programs.
package main

import (
	"os"

	"go.etcd.io/etcd/server/v3/etcdmain"
)

func main() {
	etcdmain.Main(os.Args)
}
