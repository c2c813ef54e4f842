package main

import (
	"fmt"
	"os/exec"
	"syscall"
)

// wantedFiles is how many files the busiest process opens, with some room: a proxy with 2,048
// clients and as many connections to upstreams.
const wantedFiles = 8192

// raiseFileLimit lets this process and its children open many files.
func raiseFileLimit() error {
	var limit syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil {
		return fmt.Errorf("reading the limit of open files: %w", err)
	}
	limit.Cur = limit.Max
	if err := syscall.Setrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil {
		return fmt.Errorf("raising the limit of open files: %w", err)
	}
	if limit.Max < wantedFiles {
		return fmt.Errorf("at most %d files may be open and 2,048 connections need %d; raise the hard limit with `ulimit -Hn`", limit.Max, wantedFiles)
	}
	return nil
}

// dieWithParent has the kernel end a child if this process ends without doing so.
func dieWithParent(cmd *exec.Cmd) {
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGTERM}
}
