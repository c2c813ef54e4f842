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
	"sync/atomic"
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
	t         testing.TB
	address   string
	dir       string
	command   *exec.Cmd
	snapshots bool // it only keeps what SAVE has written
	far       *far // in front of it, if it is far away
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
	keep := []string{"--appendonly", "yes", "--appendfsync", "always", "--save", ""}
	if s.snapshots {
		keep = []string{"--appendonly", "no", "--save", ""}
	}
	s.command = exec.Command("redis-server", append(keep, "--bind", "127.0.0.1", "--port", port, "--dir", s.dir)...)
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

const (
	key  = "caddy/proxyos/overrides.json"
	lock = "caddy/locks/proxyos/overrides.json"
)

func (s *server) Config() map[string]any {
	address := s.address
	if s.far != nil {
		address = s.far.listener.Addr().String()
	}
	return map[string]any{"module": "redis", "address": []string{address}}
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

// A backup is restored: all go back to what it has.
func TestASnapshotIsRestored(t *testing.T) {
	s := &server{t: t, address: proxytest.FreeAddr(t), dir: t.TempDir(), snapshots: true}
	s.start()
	t.Cleanup(s.kill)
	c := clustertest.New(t, binary, s, 0)
	c.Instances[0].Set(20)
	c.Agree(20)
	s.do("SAVE")
	backup, err := os.ReadFile(filepath.Join(s.dir, "dump.rdb"))
	if err != nil {
		t.Fatal(err)
	}
	c.Instances[1].Set(30)
	c.Agree(30)
	c.Served(func() {
		s.kill()
		c.Stay(30, 4)
		if err := os.WriteFile(filepath.Join(s.dir, "dump.rdb"), backup, 0o600); err != nil {
			t.Fatal(err)
		}
		s.start()
		c.Agree(20)
		c.Stay(20, 2)
		c.Instances[2].Set(40)
		c.Agree(40)
	})
}

// far is a way to a Redis that is far away: whatever passes is late.
type far struct {
	listener net.Listener
	late     atomic.Int64
}

func newFar(t testing.TB, to string) *far {
	f := &far{listener: proxytest.Listen(t, "127.0.0.1")}
	go func() {
		for {
			conn, err := f.listener.Accept()
			if err != nil {
				return
			}
			go f.pass(conn, to)
		}
	}()
	return f
}

func (f *far) pass(conn net.Conn, to string) {
	defer conn.Close()
	redis, err := net.Dial("tcp", to)
	if err != nil {
		return
	}
	defer redis.Close()
	go func() {
		_, _ = io.Copy(conn, redis) // until one of them closes
		conn.Close()
	}()
	buffer := make([]byte, 64<<10)
	for {
		n, err := conn.Read(buffer)
		time.Sleep(time.Duration(f.late.Load()))
		if _, writeErr := redis.Write(buffer[:n]); err != nil || writeErr != nil {
			return
		}
	}
}

// Each operation takes 200 ms.
func TestRedisIsFarAway(t *testing.T) {
	s := newServer(t)
	s.far = newFar(t, s.address)
	c := clustertest.New(t, binary, s, 0)
	c.Instances[0].Set(100)
	c.Agree(100)
	c.Only("staging", func() {
		s.far.late.Store(int64(200 * time.Millisecond))
		c.Stay(100, 6)
		c.Instances[1].Kill()
		c.Instances[1].Start(0)
		c.Stay(100, 4)
	})
	c.Instances[2].Set(30)
	time.Sleep(2*clustertest.Interval + 400*time.Millisecond) // reading takes a moment
	c.Agree(30)
}

// The holder of the lock is killed: its lock ends by itself, and nothing is lost.
func TestTheHolderOfTheLockIsKilled(t *testing.T) {
	s := newServer(t)
	s.far = newFar(t, s.address)
	c := clustertest.New(t, binary, s, 0)
	c.Instances[0].Set(20)
	c.Agree(20)
	time.Sleep(2 * clustertest.Interval) // all are written down
	for round := range 3 {
		s.far.late.Store(int64(300 * time.Millisecond))
		answered := make(chan int, 1)
		go func() {
			status, _ := c.Instances[0].Ask(http.MethodPatch, "/proxyos/routes/app", `{"traffic_split": 90}`)
			answered <- status
		}()
		proxytest.Eventually(t, "the document is locked", func() bool { return s.do("EXISTS", lock) == "1" })
		c.Instances[0].Kill()
		s.far.late.Store(0)
		if status := <-answered; status == http.StatusOK {
			t.Errorf("the change was acknowledged, and the instance was to be killed before")
		}
		if s.do("EXISTS", lock) != "1" {
			t.Fatal("the lock has ended with its holder")
		}
		want := float64(30 + round)
		began := time.Now()
		c.Instances[1].Set(want)
		if took := time.Since(began); took > 10*time.Second {
			t.Errorf("with a lock that was left behind, a change takes %s", took)
		}
		c.Instances[0].Start(0)
		c.Agree(want)
	}
}

// The holder of the lock is gone, and its lock has no end.
func TestALockThatIsLeftBehind(t *testing.T) {
	s := newServer(t)
	c := clustertest.New(t, binary, s, 0)
	c.Instances[0].Set(20)
	c.Agree(20)
	s.do("SET", lock, "somebody")
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
