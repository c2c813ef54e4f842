//go:build darwin || dragonfly || freebsd || linux || netbsd || openbsd

package proxytest

import (
	"os"
	"syscall"
)

// lock locks a file until it is closed, unless another process, or this one, has locked it.
func lock(file *os.File) bool {
	return syscall.Flock(int(file.Fd()), syscall.LOCK_EX|syscall.LOCK_NB) == nil
}
