package steering

import (
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"testing"
)

// process is a backend in a process of its own, to be killed.
type process struct {
	t       testing.TB
	name    string
	addr    string
	command *exec.Cmd
}

// The variables that make a process of this test binary a backend.
const (
	processName = "PROXYOS_TEST_BACKEND_NAME"
	processAddr = "PROXYOS_TEST_BACKEND_ADDR"
)

func init() {
	name, addr := os.Getenv(processName), os.Getenv(processAddr)
	if addr == "" {
		return
	}
	err := http.ListenAndServe(addr, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, name) }))
	fmt.Fprintln(os.Stderr, err)
	os.Exit(1)
}

func newProcess(t testing.TB, name string) *process {
	t.Helper()
	p := &process{t: t, name: name, addr: freeAddr(t)}
	t.Cleanup(p.kill)
	return p
}

// start starts the backend and waits until it answers.
func (p *process) start() {
	p.t.Helper()
	self, err := os.Executable()
	if err != nil {
		p.t.Fatal(err)
	}
	p.command = exec.Command(self)
	p.command.Env = append(os.Environ(), processName+"="+p.name, processAddr+"="+p.addr)
	p.command.Stderr = os.Stderr
	if err := p.command.Start(); err != nil {
		p.t.Fatal(err)
	}
	eventually(p.t, "the backend "+p.name+" answers", func() bool {
		res, err := http.Get("http://" + p.addr)
		if err == nil {
			res.Body.Close()
		}
		return err == nil
	})
}

// kill ends the backend as kill -9 does, if it runs.
func (p *process) kill() {
	if p.command != nil {
		_ = p.command.Process.Kill()
		_ = p.command.Wait() // it was killed
		p.command = nil
	}
}
