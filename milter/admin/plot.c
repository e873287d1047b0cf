/* plot: see plot.h. Owns nothing and cannot fail. The drawing is stretched to the width of its place; all words stand beside it,
 * so that they are not. */
#include "plot.h"

#include <inttypes.h>
#include <math.h>

enum { STEP = 10, BAR = 9, HEIGHT = 100, WIDTH = PLOT_POINTS * STEP };

/* The least of such numbers that holds the highest bar. */
static double scale_of(const struct plot *plot)
{
    static const double steps[] = {1, 1.5, 2, 3, 4, 5, 6, 8, 10};
    double most = 0;
    for (size_t i = 0; i < PLOT_POINTS; i++) {
        double sum = 0;
        for (size_t s = 0; s < plot->n; s++)
            sum += plot->points[i].at[s];
        most = sum > most ? sum : most;
    }
    double ten = most > 0 ? pow(10, floor(log10(most))) : 1;
    for (size_t i = 0; i < sizeof steps / sizeof steps[0]; i++)
        if (steps[i] * ten >= most)
            return steps[i] * ten;
    return 10 * ten;
}

/* One path a series. */
static void print_bars(FILE *out, const struct plot *plot, size_t series, double scale)
{
    bool begun = false;
    for (size_t i = 0; i < PLOT_POINTS; i++) {
        double below = 0, height = plot->points[i].at[series] / scale * HEIGHT;
        for (size_t s = 0; s < series; s++)
            below += plot->points[i].at[s] / scale * HEIGHT;
        if (height <= 0)
            continue;
        fprintf(out, "%sM%zu %.1fh%dv%.1fh-%dz", begun ? "" : "<path d=\"", i * STEP, HEIGHT - below - height,
                BAR, height, BAR);
        begun = true;
    }
    if (begun)
        fprintf(out, "\" class=\"%s\"/>", plot->series[series].class);
}

/* What is not known is no zero. Is there any? */
static bool print_unknown(FILE *out, const struct plot *plot)
{
    bool any = false;
    for (size_t i = 0; i < PLOT_POINTS;) {
        size_t from = i;
        while (i < PLOT_POINTS && !plot->points[i].known)
            i++;
        any = any || i > from;
        if (i > from)
            fprintf(out, "<rect x=\"%zu\" y=\"0\" width=\"%zu\" height=\"%d\" class=\"unknown\"/>",
                    from * STEP, (i - from) * STEP, HEIGHT);
        else
            i++;
    }
    return any;
}

static void print_pointers(FILE *out, const struct plot *plot)
{
    for (size_t i = 0; i < PLOT_POINTS; i++)
        if (plot->points[i].known)
            fprintf(
                out,
                "<rect x=\"%zu\" y=\"0\" width=\"%d\" height=\"%d\" class=\"point\"><title>%02d:%02d UTC: "
                "%s</title></rect>",
                i * STEP, STEP, HEIGHT, (int)(plot->points[i].minute / 60 % 24),
                (int)(plot->points[i].minute % 60), plot->points[i].says);
}

void plot_print(FILE *out, const struct plot *plot)
{
    double scale = scale_of(plot);
    fprintf(out,
            "<figure><figcaption>%s</figcaption><div class=\"scale\">%.6g %s</div>\n"
            "<svg viewBox=\"0 0 %d %d\" preserveAspectRatio=\"none\" role=\"img\" aria-label=\"%s, minute by "
            "minute\">",
            plot->title, scale, plot->unit, WIDTH, HEIGHT, plot->title);
    bool unknown = print_unknown(out, plot);
    fprintf(out, "<path d=\"M0 0H%dM0 %dH%d\" class=\"grid\"/>", WIDTH, HEIGHT / 2, WIDTH);
    for (size_t s = 0; s < plot->n; s++)
        print_bars(out, plot, s, scale);
    print_pointers(out, plot);
    fputs("</svg>\n<div class=\"axis\"><span>an hour ago</span><span>now</span></div><ul class=\"legend\">",
          out);
    for (size_t s = 0; s < plot->n; s++)
        if (!plot->hides_zeros || plot->series[s].sum > 0)
            fprintf(out, "<li class=\"%s\">%s <b>%s</b></li>", plot->series[s].class, plot->series[s].name,
                    plot->series[s].value);
    fputs(unknown ? "<li class=\"unknown\">not known</li>" : "", out);
    fputs("</ul></figure>\n", out);
}
