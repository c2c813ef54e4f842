// Package redis runs a cluster on a real Redis: Debian's redis-server, on a free port.
package redis

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	_ "github.com/caddyserver/caddy/v2/modules/standard"

	"github.com/proxyos/caddy-proxyos/internal/clustertest"
	"github.com/proxyos/caddy-proxyos/internal/proxytest"
)

var binary string // a Caddy with the Redis storage

func TestMain(m *testing.M) {
	dir, err := os.MkdirTemp("", "caddy")
	if err != nil {
		panic(err)
	}
	binary = filepath.Join(dir, "caddy")
	if output, err := exec.Command("go", "build", "-buildvcs=false", "-o", binary, "./caddy").CombinedOutput(); err != nil {
		fmt.Fprintf(os.Stderr, "building caddy: %v\n%s", err, output)
		os.Exit(1)
	}
	code := m.Run()
	os.RemoveAll(dir)
	os.Exit(code)
}

// server is a redis-server that keeps its data through a kill.
type server struct {
	t       testing.TB
	address string
	dir     string
	command *exec.Cmd
}

func newServer(t testing.TB) *server {
	t.Helper()
	s := &server{t: t, address: proxytest.FreeAddr(t), dir: t.TempDir()}
	s.start()
	t.Cleanup(s.kill)
	return s
}

func (s *server) start() {
	s.t.Helper()
	_, port, err := net.SplitHostPort(s.address)
	if err != nil {
		s.t.Fatal(err)
	}
	s.command = exec.Command("redis-server", "--bind", "127.0.0.1", "--port", port, "--dir", s.dir, "--appendonly", "yes", "--appendfsync", "always", "--save", "")
	if err := s.command.Start(); err != nil {
		s.t.Fatalf("starting redis-server: %v; install it with apt-get install redis-server", err)
	}
	proxytest.Eventually(s.t, "Redis answers", func() bool {
		answer, err := s.try("PING")
		return err == nil && answer == "PONG"
	})
}

func (s *server) kill() {
	if s.command != nil {
		s.signal(syscall.SIGCONT)
		s.signal(syscall.SIGKILL)
		s.command.Wait()
		s.command = nil
	}
}

func (s *server) signal(signal syscall.Signal) { _ = s.command.Process.Signal(signal) }

// do runs a command and returns its answer, if that is text.
func (s *server) do(arguments ...string) string {
	s.t.Helper()
	answer, err := s.try(arguments...)
	if err != nil {
		s.t.Fatalf("%v: %v", arguments, err)
	}
	return answer
}

func (s *server) try(arguments ...string) (string, error) {
	conn, err := net.DialTimeout("tcp", s.address, time.Second)
	if err != nil {
		return "", err
	}
	defer conn.Close()
	conn.SetDeadline(time.Now().Add(5 * time.Second))
	fmt.Fprintf(conn, "*%d\r\n", len(arguments))
	for _, argument := range arguments {
		fmt.Fprintf(conn, "$%d\r\n%s\r\n", len(argument), argument)
	}
	answer := bufio.NewReader(conn)
	line, err := answer.ReadString('\n')
	if err != nil {
		return "", err
	}
	line = strings.TrimSpace(line)
	switch line[0] {
	case '-':
		return "", fmt.Errorf("%s", line)
	case '$':
		length, err := strconv.Atoi(line[1:])
		if err != nil || length < 0 {
			return "", err
		}
		text := make([]byte, length)
		_, err = io.ReadFull(answer, text)
		return string(text), err
	}
	return line[1:], nil
}

const key = "caddy/proxyos/overrides.json"

func (s *server) Config() map[string]any {
	return map[string]any{"module": "redis", "address": []string{s.address}}
}

func (s *server) Read() []byte {
	value, err := s.try("GET", key)
	if err != nil || value == "" {
		return nil
	}
	var data struct {
		Value []byte `json:"value"`
	}
	if err := json.Unmarshal([]byte(value), &data); err != nil {
		s.t.Fatal(err)
	}
	return data.Value
}

func (s *server) Write(t testing.TB, raw []byte) {
	t.Helper()
	value, err := json.Marshal(map[string]any{"value": raw, "modified": time.Now(), "size": len(raw)})
	if err != nil {
		t.Fatal(err)
	}
	s.do("SET", key, string(value))
}

func (s *server) Lose(t testing.TB) {
	t.Helper()
	s.do("FLUSHALL")
}

func TestAClusterAgreesOnRedis(t *testing.T) {
	clustertest.Suite(t, binary, func(t testing.TB) clustertest.Storage { return newServer(t) })
}

// Nothing that Redis does moves a request to the other group.
func TestRedisIsKilledStoppedAndReadOnly(t *testing.T) {
	s := newServer(t)
	c := clustertest.New(t, binary, s, 0)
	c.Instances[0].Set(100)
	c.Agree(100)
	refused := func(what string, within time.Duration) {
		t.Helper()
		began := time.Now()
		status, answer := c.Instances[1].Ask(http.MethodPatch, "/proxyos/routes/app", `{"traffic_split": 30}`)
		if took := time.Since(began); status != http.StatusServiceUnavailable || took > within {
			t.Errorf("%s: after %s a change is answered with %d %s", what, took, status, answer)
		}
	}
	c.Only("staging", func() {
		s.kill()
		c.Stay(100, 10)
		refused("killed", 11*time.Second)
		s.start()
		c.Stay(100, 4)

		s.signal(syscall.SIGSTOP)
		c.Stay(100, 4)
		refused("stopped", 11*time.Second)
		s.signal(syscall.SIGCONT)
		c.Stay(100, 4)

		s.do("CONFIG", "SET", "min-replicas-to-write", "1")
		refused("read-only", 11*time.Second)
		c.Stay(100, 4)
		s.do("CONFIG", "SET", "min-replicas-to-write", "0")
	})
	c.Instances[1].Set(60)
	c.Agree(60)
}

// The holder of the lock is killed, and its lock has no end.
func TestALockThatIsLeftBehind(t *testing.T) {
	s := newServer(t)
	c := clustertest.New(t, binary, s, 0)
	c.Instances[0].Set(20)
	c.Agree(20)
	s.do("SET", "caddy/locks/proxyos/overrides.json", "somebody")
	began := time.Now()
	status, answer := c.Instances[1].Ask(http.MethodPatch, "/proxyos/routes/app", `{"traffic_split": 30}`)
	if took := time.Since(began); status != http.StatusServiceUnavailable || took < 5*time.Second || took > 12*time.Second || !strings.Contains(answer, "delete the lock") {
		t.Errorf("after %s a change is answered with %d %s", took, status, answer)
	}
	c.Stay(20, 1)
	s.do("FLUSHALL")
	c.Instances[1].Set(30)
	c.Agree(30)
}
