package main

import (
	"math"
	"slices"
)

// median returns the middle value, or the mean of the two in the middle.
func median(values []float64) float64 {
	if len(values) == 0 {
		return math.NaN()
	}
	sorted := slices.Sorted(slices.Values(values))
	middle := len(sorted) / 2
	if len(sorted)%2 == 1 {
		return sorted[middle]
	}
	return (sorted[middle-1] + sorted[middle]) / 2
}

// medianOf returns the median of a figure over all items.
func medianOf[T any](things []T, figure func(T) float64) float64 {
	values := make([]float64, len(things))
	for i, thing := range things {
		values[i] = figure(thing)
	}
	return median(values)
}

// medianRatio returns the median of the ratios of a figure in the same rounds.
func medianRatio[T any](things, others []T, figure func(T) float64) float64 {
	var ratios []float64
	for i := range min(len(things), len(others)) {
		ratios = append(ratios, figure(things[i])/figure(others[i]))
	}
	return median(ratios)
}
