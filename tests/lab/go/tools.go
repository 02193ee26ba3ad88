//go:build tools

// Package lab names the programs of the control plane and of a node, so that `go mod tidy` keeps in go.mod and go.sum what they are built from.
//
// To move to Kubernetes 1.X.Y: in go.mod set k8s.io/kubernetes to v1.X.Y and everything under `replace` to v0.X.Y, then `go mod tidy`.
// etcd's server is of the version of the client in it, go.etcd.io/etcd/client/v3.
package lab

import (
	_ "k8s.io/kubernetes/cmd/kube-apiserver"
	_ "k8s.io/kubernetes/cmd/kube-controller-manager"
	_ "k8s.io/kubernetes/cmd/kube-proxy"
	_ "k8s.io/kubernetes/cmd/kube-scheduler"
	_ "k8s.io/kubernetes/cmd/kubelet"
)
