/* plot: an hour of numbers as stacked bars, one a minute, in SVG that needs no script and no style of its own. */
#ifndef RCPTGATE_ADMIN_PLOT_H
#define RCPTGATE_ADMIN_PLOT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

enum { PLOT_POINTS = 60, PLOT_SERIES = 6 };

struct plot {                 /* of texts of our own: nothing is escaped */
    const char *title, *unit; /* of the scale: "a minute" */
    size_t n;                 /* series */
    bool hides_zeros;         /* a series without a bar is not in the legend */
    struct {
        const char *name, *class; /* in the legend; of its colour in page.css */
        char value[32];           /* in the legend, behind the name */
        double sum;               /* of all its bars, where it may be hidden */
    } series[PLOT_SERIES];
    struct {
        bool known;
        int64_t minute;         /* since 1970 */
        double at[PLOT_SERIES]; /* as they are stacked, the lowest first */
        char says[160];         /* of that minute, for who points at it */
    } points[PLOT_POINTS];
};

void plot_print(FILE *out, const struct plot *plot);

#endif
