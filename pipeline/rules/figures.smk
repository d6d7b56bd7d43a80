"""Figures of the paper that need runs of their own, a file each; none of them is part of `all`."""


include: "figure_fig2.smk"
include: "figure_fig5.smk"
include: "figure_fig6.smk"
include: "figure_fig7.smk"
include: "figure_fig_2d.smk"
