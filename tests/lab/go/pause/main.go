// Command pause is the one process of a pod's sandbox: it holds the namespaces that the containers join, until it is told to end.
package main

import (
	"os"
	"os/signal"
	"syscall"
)

func main() {
	ended := make(chan os.Signal, 1)
	signal.Notify(ended, syscall.SIGINT, syscall.SIGTERM)
	signal.Ignore(syscall.SIGCHLD) // the kernel reaps orphans then, where containers share the sandbox's processes
	<-ended
}
