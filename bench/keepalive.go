package main

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"time"
)

// keepAliveClient sends one GET request after another over one connection.
type keepAliveClient struct {
	conn    net.Conn
	answers *bufio.Reader
	request []byte
}

func dialKeepAlive(address string) (*keepAliveClient, error) {
	conn, err := net.DialTimeout("tcp", address, 5*time.Second)
	if err != nil {
		return nil, err
	}
	return &keepAliveClient{
		conn: conn, answers: bufio.NewReader(conn),
		request: fmt.Appendf(nil, "GET / HTTP/1.1\r\nHost: %s\r\n\r\n", address),
	}, nil
}

// get returns the body of the next answer.
func (c *keepAliveClient) get() (string, error) {
	if err := c.conn.SetDeadline(time.Now().Add(10 * time.Second)); err != nil {
		return "", err
	}
	if _, err := c.conn.Write(c.request); err != nil {
		return "", err
	}
	resp, err := http.ReadResponse(c.answers, nil)
	if err != nil {
		return "", err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err == nil && resp.StatusCode != http.StatusOK {
		err = fmt.Errorf("the proxy answered %s", resp.Status)
	}
	return string(body), err
}

func (c *keepAliveClient) close() { _ = c.conn.Close() }
