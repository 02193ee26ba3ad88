// Command etcd is etcd's server without its other programs, built from the module that its own releases are built from.
package main

import (
	"os"

	"go.etcd.io/etcd/server/v3/etcdmain"
)

func main() {
	etcdmain.Main(os.Args)
}
