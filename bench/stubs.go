package main

import "context"

func runSoak(context.Context, *lab, options) error { return nil }
