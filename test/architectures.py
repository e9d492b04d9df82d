"""Networks that robot builders pick, after their papers and published code, in a small width.

What matters here is which operators they are exported to, and what they give; weights are random.
All take (1, 3, H, W).
"""

import torch
from torch import nn
from torch.nn import functional as f


def conv(i, o, k=3, s=1, d=1, g=1, act=nn.ReLU):
    layers = [nn.Conv2d(i, o, k, s, d * (k // 2), d, g, bias=False), nn.BatchNorm2d(o)]
    return nn.Sequential(*layers, *([act()] if act else []))


def grown(x, like, align=False):
    return f.interpolate(x, like.shape[2:], mode='bilinear', align_corners=align)


class Basic(nn.Module):
    """Residual block of two 3x3 convolutions, or a bottleneck that doubles the channels."""

    def __init__(self, i, o, s=1, bottleneck=False, last=True):
        super().__init__()
        convs = [conv(i, o, 3, s), conv(o, o, act=None)]
        if bottleneck:
            convs, o = [conv(i, o, 1), conv(o, o, 3, s), conv(o, 2 * o, 1, act=None)], 2 * o
        self.body = nn.Sequential(*convs)
        self.skip = nn.Identity() if (i, s) == (o, 1) else conv(i, o, 1, s, act=None)
        self.last = last

    def forward(self, x):
        x = self.body(x) + self.skip(x)
        return f.relu(x) if self.last else x


def layer(i, o, n, s=1):
    return nn.Sequential(
        Basic(i, o, s), *(Basic(o, o) for _ in range(n - 2)), Basic(o, o, 1, False, False)
    )


class Head(nn.Module):
    def __init__(self, i, m, classes):
        super().__init__()
        self.body = nn.Sequential(
            nn.BatchNorm2d(i), nn.ReLU(), conv(i, m), nn.Conv2d(m, classes, 1)
        )

    def forward(self, x):
        return self.body(x)


class Pyramid(nn.Module):
    """DAPPM (DDRNet), or PAPPM of PIDNet, which sums each scale on its own."""

    def __init__(self, i, m, o, parallel):
        super().__init__()
        pools = [nn.Identity(), *(nn.AvgPool2d(2 * s + 1, s, s) for s in (2, 4, 8))]
        pools.append(nn.AdaptiveAvgPool2d(1))
        self.scales = nn.ModuleList(
            nn.Sequential(p, nn.BatchNorm2d(i), nn.ReLU(), nn.Conv2d(i, m, 1, bias=False))
            for p in pools
        )
        self.parallel = parallel
        self.processes = nn.ModuleList(
            [conv(4 * m, 4 * m, g=4)] if parallel else [conv(m, m) for _ in range(4)]
        )
        self.compress, self.skip = conv(5 * m, o, 1), conv(i, o, 1)

    def forward(self, x):
        first = self.scales[0](x)
        others = [grown(scale(x), x) for scale in self.scales[1:]]
        if self.parallel:
            rest = [self.processes[0](torch.cat([other + first for other in others], 1))]
        else:
            rest, before = [], first
            for process, other in zip(self.processes, others, strict=True):
                before = process(other + before)
                rest.append(before)
        return self.compress(torch.cat([first, *rest], 1)) + self.skip(x)


class Pag(nn.Module):
    """Pixel-attention guided fusion (PIDNet)."""

    def __init__(self, i, m):
        super().__init__()
        self.f_x, self.f_y = conv(i, m, 1, act=None), conv(i, m, 1, act=None)

    def forward(self, x, y):
        y_q = grown(self.f_y(y), x)
        share = torch.sigmoid(torch.sum(self.f_x(x) * y_q, dim=1).unsqueeze(1))
        return (1 - share) * x + share * grown(y, x)


class PidNet(nn.Module):
    """PIDNet-S: scores at 1/8; in training also those of the P branch, and boundaries."""

    def __init__(self, classes=19, w=8, training=False):
        super().__init__()
        self.augment = training
        self.stem = nn.Sequential(conv(3, w, s=2), conv(w, w, s=2), layer(w, w, 2), nn.ReLU())
        self.l2, self.l3 = layer(w, 2 * w, 2, 2), layer(2 * w, 4 * w, 3, 2)
        self.l4, self.l5 = layer(4 * w, 8 * w, 3, 2), Basic(8 * w, 8 * w, 2, True, False)
        self.c3, self.c4 = conv(4 * w, 2 * w, 1, act=None), conv(8 * w, 2 * w, 1, act=None)
        self.pag3, self.pag4 = Pag(2 * w, w), Pag(2 * w, w)
        self.p3, self.p4 = layer(2 * w, 2 * w, 2), layer(2 * w, 2 * w, 2)
        self.p5 = Basic(2 * w, 2 * w, 1, True, False)
        self.d3, self.d4 = Basic(2 * w, w, 1, False, False), Basic(w, w, 1, True, False)
        self.d5 = Basic(2 * w, 2 * w, 1, True, False)
        self.diff3, self.diff4 = conv(4 * w, w, act=None), conv(8 * w, 2 * w, act=None)
        self.spp = Pyramid(16 * w, 3 * w, 4 * w, parallel=True)
        self.conv_p, self.conv_i = conv(4 * w, 4 * w, 1, act=None), conv(4 * w, 4 * w, 1, act=None)
        self.head = Head(4 * w, 4 * w, classes)
        if training:
            self.head_p, self.head_d = Head(2 * w, 4 * w, classes), Head(2 * w, w, 1)

    def forward(self, x):
        x = f.relu(self.l2(self.stem(x)))
        p, d = self.p3(x), self.d3(x)
        x = f.relu(self.l3(x))
        p = self.pag3(p, self.c3(x))
        d = d + grown(self.diff3(x), d)
        extra_p = p
        x = f.relu(self.l4(x))
        p, d = self.p4(f.relu(p)), self.d4(f.relu(d))
        p = self.pag4(p, self.c4(x))
        d = d + grown(self.diff4(x), d)
        extra_d = d
        p, d = self.p5(f.relu(p)), self.d5(f.relu(d))
        x = grown(self.spp(self.l5(x)), d)
        share = torch.sigmoid(d)
        y = self.head(self.conv_p((1 - share) * x + p) + self.conv_i(x + share * p))
        return (self.head_p(extra_p), y, self.head_d(extra_d)) if self.augment else y


class DdrNet(nn.Module):
    """DDRNet-23-slim: scores at 1/8."""

    def __init__(self, classes=19, w=8):
        super().__init__()
        self.stem = nn.Sequential(
            conv(3, w, s=2), conv(w, w, s=2), layer(w, w, 2), nn.ReLU(), layer(w, 2 * w, 2, 2)
        )
        self.l3, self.l4 = layer(2 * w, 4 * w, 2, 2), layer(4 * w, 8 * w, 2, 2)
        self.l5 = Basic(8 * w, 8 * w, 2, True, False)
        self.h3, self.h4 = layer(2 * w, 2 * w, 2), layer(2 * w, 2 * w, 2)
        self.h5 = Basic(2 * w, 2 * w, 1, True, False)
        self.c3, self.c4 = conv(4 * w, 2 * w, 1, act=None), conv(8 * w, 2 * w, 1, act=None)
        self.down3 = conv(2 * w, 4 * w, s=2, act=None)
        self.down4 = nn.Sequential(conv(2 * w, 4 * w, s=2), conv(4 * w, 8 * w, s=2, act=None))
        self.spp = Pyramid(16 * w, 4 * w, 4 * w, parallel=False)
        self.head = Head(4 * w, 2 * w, classes)

    def forward(self, x):
        x = f.relu(self.stem(x))
        low, high = self.l3(x), self.h3(x)
        x, high = low + self.down3(f.relu(high)), high + grown(self.c3(f.relu(low)), high)
        low, high = self.l4(f.relu(x)), self.h4(f.relu(high))
        x, high = low + self.down4(f.relu(high)), high + grown(self.c4(f.relu(low)), high)
        high = self.h5(f.relu(high))
        return self.head(high + grown(self.spp(self.l5(f.relu(x))), high))


class BiSeNetV2(nn.Module):
    """Scores at full size, and those of auxiliary heads."""

    def __init__(self, classes=19, w=8):
        super().__init__()
        self.detail = nn.Sequential(
            *(conv(i, o, 3, s) for i, o, s in ((3, w, 2), (w, w, 1), (w, w, 2), (w, 2 * w, 2)))
        )
        self.stem = conv(3, w, s=2)
        self.left = nn.Sequential(conv(w, w // 2, 1), conv(w // 2, w, s=2))
        self.fuse = conv(2 * w, w)
        self.s3, self.s4 = self.gather(w, 2 * w), self.gather(2 * w, 3 * w)
        self.s5 = self.gather(3 * w, 4 * w)
        self.context, self.last = conv(4 * w, 4 * w, 1), conv(4 * w, 2 * w)
        self.dw = conv(2 * w, 2 * w, g=2 * w, act=None)
        self.down = nn.Sequential(conv(2 * w, 2 * w, s=2, act=None), nn.AvgPool2d(3, 2, 1))
        self.gate, self.up = conv(2 * w, 2 * w, g=2 * w, act=None), conv(2 * w, 2 * w, act=None)
        self.bga = conv(2 * w, 2 * w, act=None)
        self.head, self.aux = Head(2 * w, 8 * w, classes), Head(3 * w, w, classes)

    @staticmethod
    def gather(i, o):
        return nn.Sequential(
            conv(i, i),
            conv(i, 6 * i, s=2, g=i, act=None),
            conv(6 * i, 6 * i, g=6 * i),
            conv(6 * i, o, 1),
        )

    def forward(self, image):
        detail, x = self.detail(image), self.stem(image)
        x = self.fuse(torch.cat([self.left(x), f.max_pool2d(x, 3, 2, 1)], 1))
        x4 = self.s4(self.s3(x))
        x = self.s5(x4)
        x = self.last(x + self.context(x.mean((2, 3), keepdim=True)))
        left = self.dw(detail) * torch.sigmoid(grown(self.up(x), detail))
        right = self.down(detail) * torch.sigmoid(self.gate(x))
        y = self.head(self.bga(left + grown(right, left)))
        return grown(y, image), grown(self.aux(x4), image)


class FastScnn(nn.Module):
    """Scores at full size; its pyramid pools to 1, 2, 3 and 6, so that sizes are fixed."""

    def __init__(self, classes=19, w=8):
        super().__init__()
        self.down = nn.Sequential(
            conv(3, w, s=2), self.separable(w, w, 2), self.separable(w, 2 * w, 2)
        )
        self.deep = nn.Sequential(
            *(
                nn.Sequential(
                    conv(i, 6 * i, 1),
                    conv(6 * i, 6 * i, s=s, g=6 * i),
                    conv(6 * i, o, 1, act=None),
                )
                for i, o, s in ((2 * w, 2 * w, 2), (2 * w, 3 * w, 2), (3 * w, 4 * w, 1))
            )
        )
        self.pools = nn.ModuleList(
            nn.Sequential(nn.AdaptiveAvgPool2d(n), conv(4 * w, w, 1)) for n in (1, 2, 3, 6)
        )
        self.out, self.wide = conv(8 * w, 4 * w, 1), conv(4 * w, 4 * w, d=4, g=4 * w)
        self.low, self.high = nn.Conv2d(4 * w, 4 * w, 1), nn.Conv2d(2 * w, 4 * w, 1)
        self.head = nn.Sequential(
            self.separable(4 * w, 4 * w, 1), nn.Dropout(0.1), nn.Conv2d(4 * w, classes, 1)
        )

    @staticmethod
    def separable(i, o, s):
        return nn.Sequential(conv(i, i, s=s, g=i), conv(i, o, 1))

    def forward(self, image):
        high = self.down(image)
        x = self.deep(high)
        x = self.out(torch.cat([x, *(grown(pool(x), x, True) for pool in self.pools)], 1))
        x = f.relu(self.low(self.wide(grown(x, high, True))) + self.high(high))
        return grown(self.head(x), image, True)


class TwinLiteNet(nn.Module):
    """Two heads of two classes: drivable area, and lanes."""

    def __init__(self, w=4):
        super().__init__()
        self.down = nn.ModuleList(
            conv(i, o, s=2, act=nn.PReLU) for i, o in ((3, w), (w + 3, 2 * w), (2 * w + 3, 4 * w))
        )
        self.esp = nn.ModuleList(conv(4 * w, w, d=d, act=None) for d in (1, 2, 4, 8))
        self.query, self.key, self.value = (nn.Conv2d(4 * w, o, 1) for o in (w, w, 4 * w))
        self.gamma = nn.Parameter(torch.tensor([0.5, 0.5]))
        self.classifier = conv(4 * w, 8 * w, 1)
        self.heads = nn.ModuleList(
            nn.Sequential(
                nn.ConvTranspose2d(8 * w, 4 * w, 2, 2),
                nn.BatchNorm2d(4 * w),
                nn.PReLU(),
                nn.ConvTranspose2d(4 * w, 2 * w, 2, 2),
                nn.BatchNorm2d(2 * w),
                nn.PReLU(),
                nn.ConvTranspose2d(2 * w, 2, 2, 2),
            )
            for _ in range(2)
        )

    def forward(self, image):
        x = small = image
        for number, down in enumerate(self.down):
            if number:
                small = f.avg_pool2d(small, 3, 2, 1)
                x = torch.cat([x, small], 1)
            x = down(x)
        x = x + torch.cat([esp(x) for esp in self.esp], 1)
        b, c, h, w = x.size()
        # Attention over positions, then over channels (DANet).
        q, k = self.query(x).view(b, -1, h * w).permute(0, 2, 1), self.key(x).view(b, -1, h * w)
        places = torch.softmax(torch.bmm(q, k), -1)
        out = torch.bmm(self.value(x).view(b, -1, h * w), places.permute(0, 2, 1)).view(b, c, h, w)
        flat = x.view(b, c, -1)
        energy = torch.bmm(flat, flat.permute(0, 2, 1))
        energy = torch.max(energy, -1, keepdim=True)[0].expand_as(energy) - energy
        channels = torch.bmm(torch.softmax(energy, -1), flat).view(b, c, h, w)
        x = self.classifier(x + self.gamma[0] * out + self.gamma[1] * channels)
        return tuple(head(x) for head in self.heads)
