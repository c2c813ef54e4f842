package proxyos

import (
	"errors"
	"io"
	"net"
	"testing"
	"testing/synctest"
	"time"
)

// brokenConn fails when it is written to, and has an answer to read before it ends.
type brokenConn struct {
	net.Conn
	answer io.Reader
}

var errWrite = errors.New("broken pipe")

func (c *brokenConn) Read(p []byte) (int, error)  { return c.answer.Read(p) }
func (c *brokenConn) Write(p []byte) (int, error) { return 0, errWrite }
func (c *brokenConn) Close() error                { return nil }

func TestAFailedWriteWaitsForTheAnswerAndForNothingElse(t *testing.T) {
	for name, end := range map[string]func(*patientConn){
		"the end of the answer":     func(c *patientConn) { _, _ = io.ReadAll(c) },
		"the end of the connection": func(c *patientConn) { _ = c.Close() },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				ours, theirs := io.Pipe()
				c := &patientConn{Conn: &brokenConn{answer: ours}, closed: make(chan struct{})}
				written := make(chan error, 1)
				go func() {
					_, err := c.Write([]byte("x"))
					written <- err
				}()
				synctest.Wait()
				select {
				case err := <-written:
					t.Fatalf("the write ends with %v before the answer has come", err)
				default:
				}
				go func() {
					_, _ = io.WriteString(theirs, "early")
					theirs.Close()
				}()
				end(c)
				began := time.Now()
				if err := <-written; err != errWrite || time.Since(began) > 0 {
					t.Errorf("the write ends with %v after %s", err, time.Since(began))
				}
				if _, err := c.Write(nil); err != errWrite || time.Since(began) > 0 {
					t.Errorf("another write ends with %v after %s", err, time.Since(began))
				}
				ours.Close()
			})
		})
	}
}

func TestAFailedWriteWaitsForFiveSecondsAtMost(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ours, theirs := io.Pipe()
		defer theirs.Close()
		c := &patientConn{Conn: &brokenConn{answer: ours}, closed: make(chan struct{})}
		began := time.Now()
		if _, err := c.Write([]byte("x")); err != errWrite || time.Since(began) != earlyAnswerWait {
			t.Errorf("the write ends with %v after %s", err, time.Since(began))
		}
	})
}
