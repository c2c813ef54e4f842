//go:build !linux

package main

import "time"

func pauseUntil(moment time.Time) { time.Sleep(time.Until(moment)) }
