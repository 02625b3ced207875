"""img2img: sampling from images, masks and inpainting."""

from dataclasses import dataclass, field

from PIL import Image, ImageChops, ImageFilter

from stableflows.sandbox import draw, images, pixels, samplers
from stableflows.sandbox.errors import runtime_error, type_error
from stableflows.sandbox.job import Job

_FILLS = {0: "fill", 2: "latent noise", 3: "latent nothing"}


@dataclass
class ImageJob(Job):
    """An img2img request, its images decoded."""

    init_images: list[Image.Image] = field(default_factory=list)
    mask: Image.Image | None = None
    only_masked: bool = False
    prepared: list[Image.Image] = field(default_factory=list)
    is_tile: bool = False
    """The inputs are tiles of one larger picture."""

    def init(self) -> None:
        r, extra = self.r, self.extra
        if self.skips:
            # ADetailer's second argument: one step at 128x128, thrown away afterwards, but reported. What was
            # asked for is what it then repaints with.
            schedule = samplers.effective_schedule(self.webui.family, self.sampler, self.scheduler)
            self.asked_sampling = {
                "steps": r["steps"],
                "sampler": self.sampler,
                "schedule": schedule or self.scheduler,
            }
            r["steps"], r["width"], r["height"] = 1, 128, 128
            self.sampler = "Euler"
        self.check_size()
        extra["Denoising strength"] = r["denoising_strength"]
        self._init_mask()
        if not self.init_images:
            raise runtime_error(
                "Expected 3D (unbatched) or 4D (batched) input to conv2d, but got input of size: [0]"
            )
        background = str(self.webui.options["img2img_background_color"])
        flat = [images.flatten(image, background) for image in self.init_images]
        self.init_images = flat
        size = (r["width"] // 8 * 8, r["height"] // 8 * 8)
        self.prepared = (
            flat if self.only_masked else [images.resize(r["resize_mode"], image, *size) for image in flat]
        )
        if len(flat) == 1:
            self.prepared *= self.batch_size
        elif len(flat) <= self.batch_size:
            self.batch_size = len(flat)
        else:
            raise runtime_error(
                f"bad number of images passed: {len(flat)}; expecting {self.batch_size} or less"
            )

    @property
    def skips(self) -> bool:
        return self.detailer is not None and self.detailer.skip_img2img and self.mask is None

    def _init_mask(self) -> None:
        r, extra = self.r, self.extra
        if self.mask is None:
            return
        blur = r["mask_blur"]
        if blur is not None:
            r["mask_blur_x"] = r["mask_blur_y"] = blur
        mask = images.flatten(self.mask, "#000000").convert("L")
        if r["mask_round"]:
            mask = mask.point(lambda value: 255 if value >= 128 else 0)
        if r["inpainting_mask_invert"]:
            mask = ImageChops.invert(mask)
            extra["Mask mode"] = "Inpaint not masked"
        if r["mask_blur_x"] or r["mask_blur_y"]:
            mask = mask.filter(ImageFilter.GaussianBlur(max(r["mask_blur_x"], r["mask_blur_y"])))
            same = r["mask_blur_x"] == r["mask_blur_y"]
            extra["Mask blur"] = r["mask_blur_x"] if same else None
        self.mask = mask
        if r["inpaint_full_res"]:
            if mask.getbbox() is None:
                # Nothing is masked: A1111 goes on as if there were no mask at all.
                self.mask = None
                return
            self.only_masked = True
            extra["Inpaint area"] = "Only masked"
            extra["Masked area padding"] = r["inpaint_full_res_padding"]
        if r["inpainting_fill"] in _FILLS:
            extra["Masked content"] = _FILLS[r["inpainting_fill"]]

    def sample(self, position: int) -> list[Image.Image]:
        r = self.r
        if r["cfg_scale"] is None:
            raise type_error("unsupported operand type(s) for *: 'NoneType' and 'float'")
        if r["steps"] < 0:
            raise runtime_error("number of steps must be non-negative")
        checkpoint = self.webui.weights.current().content
        strength = float(r["denoising_strength"])
        steps = self._steps(strength)
        self.note_schedule(self.sampler, self.scheduler)
        self.note_eta()
        recipes = [
            pixels.recipe(self, position + number, checkpoint, pixels.img2img(self, image, self.mask))
            for number, image in enumerate(self.prepared)
        ]
        done = self.run_sampler(steps, recipes[0], self.prepared[0].size)
        if done == 1.0:
            self.use_refiner(steps, hires=False)
        if self.skips:
            # What was sampled is thrown away: ADetailer works on the image that came in, in its own size.
            return [self.init_images[0].copy() for _ in self.prepared]
        made = []
        for image, recipe in zip(self.prepared, recipes, strict=True):
            if self.is_tile:
                painted = draw.texture(recipe, image, strength)
            else:
                painted = draw.repaint(recipe, image, strength, "inpaint" if self.mask else "img2img")
            if done < 1.0:
                painted = draw.unfinished(painted, recipe, done)
            made.append(self._masked(image, painted, recipe))
        return made

    def _steps(self, strength: float) -> int:
        """How many steps are really run: the share that the denoising strength leaves."""
        steps = int(self.r["steps"])
        if self.webui.options["img2img_fix_steps"]:
            return max(1, steps)
        return max(1, min(int(min(strength, 0.999) * steps) + 1, max(1, steps)))

    def _masked(self, image: Image.Image, painted: Image.Image, recipe: draw.Recipe) -> Image.Image:
        """Only the mask's area is new; dabs of colour tell recipes apart where no mark is visible."""
        if self.mask is None:
            return painted
        mask = self.mask.resize(image.size)
        return Image.composite(draw.dabbed(painted, mask, recipe), image.convert("RGB"), mask)
