// The moments that an answer about the past rests on, as pictures that lead there.

import { showPicture } from "./api.js";
import { button, element } from "./view.js";

const MAX_SHOWN = 6;

/**
 * A box of pictures, or nothing where there are none.
 * @param {{picture: string | null, text: string, go: () => void}[]} moments
 */
export function moments(api, moments) {
  const shown = moments.filter(({ picture }) => picture).slice(0, MAX_SHOWN);
  if (!shown.length) return [];
  const box = element("div", "evidence");
  for (const { picture, text, go } of shown) {
    const open = button("", go);
    open.className = "seen";
    const img = element("img");
    img.alt = "";
    open.append(img, element("span", "", text));
    showPicture(api, picture, img).catch(() => open.remove()); // it was deleted meanwhile
    box.append(open);
  }
  return [box];
}
